"""The stored list of a folder is used while the folder has not changed."""

import os
import pathlib
import pickle
import time
import types

import pytest

from rq_jax.data.image_tree import index
from rq_jax.data.image_tree import scan
from rq_jax.data.image_tree import tree as tree_lib
from tests.data.image_tree import trees

NAMES = ['a/0.png', 'a/1.png', 'b/sub/2.png']


@pytest.fixture
def data(tmp_path, monkeypatch):
  """A folder of images whose list is worth storing."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(index, '_WORTH_FILES', 2)
  monkeypatch.setattr(index, '_SETTLED_NS', 0)
  folder = trees.fill(tmp_path / 'data', *NAMES)
  wait()
  return folder


def wait():
  """Waits until the clock of the file system has gone on."""
  time.sleep(0.05)


def stored(tmp_path):
  return sorted((tmp_path / 'cache').rglob('*.tree'))


def opened(folder):
  return index.open_tree(str(folder))


@pytest.fixture
def scans(monkeypatch):
  """The folders that were listed."""
  found = []
  whole = scan.scan

  def count(root):
    found.append(root)
    return whole(root)

  monkeypatch.setattr(scan, 'scan', count)
  return found


def test_the_second_time_nothing_is_listed(data, tmp_path, scans):
  first = opened(data)
  (file,) = stored(tmp_path)
  assert file.parent == tmp_path / 'cache' / 'rq_jax' / 'folders'
  second = opened(data)
  assert trees.paths(first) == trees.paths(second) == NAMES
  assert second.ignored == first.ignored
  assert scans == [str(data)]
  # The same folder by another path has the same list.
  (tmp_path / 'link').symlink_to(data)
  assert trees.paths(opened(tmp_path / 'link')) == NAMES
  assert scans == [str(data)]


def add(data):
  trees.fill(data, 'b/sub/3.png')


def add_folder(data):
  trees.fill(data, 'b/new/3.png')


def remove(data):
  (data / 'a' / '0.png').unlink()


def rename(data):
  (data / 'a' / '0.png').rename(data / 'a' / '7.png')


def rename_and_hide(data):
  """The folder gets its old time, as some tools do."""
  before = os.stat(data / 'a')
  rename(data)
  os.utime(data / 'a', ns=(before.st_atime_ns, before.st_mtime_ns))


def exchange(data):
  """Another folder takes the name."""
  (data / 'b' / 'sub').rename(data.parent / 'old')
  trees.fill(data, 'b/sub/9.png')


def test_stamps_have_the_times_and_the_number_of_a_folder():
  """Some file systems use all 64 bits for the number."""
  status = types.SimpleNamespace(st_mtime_ns=5, st_ctime_ns=6, st_ino=2**63 + 7)
  assert scan.stamp(status) == (5, 6, 7)


@pytest.mark.parametrize('times', [(0, 5), (5, 0)])
def test_without_times_nothing_is_stored(data, tmp_path, monkeypatch, times):
  monkeypatch.setattr(scan, 'stamp', lambda _: (*times, 7))
  opened(data)
  assert not stored(tmp_path)


@pytest.mark.parametrize(
    'change', [add, add_folder, remove, rename, rename_and_hide, exchange]
)
def test_a_change_is_noticed(data, change, scans):
  opened(data)
  change(data)
  wait()
  after = trees.paths(opened(data))
  assert after != NAMES
  assert len(scans) == 2
  assert after == trees.paths(opened(data))
  assert len(scans) == 2  # The new list was stored.


def test_a_folder_that_has_just_changed_is_not_stored(
    data, tmp_path, monkeypatch
):
  """Later changes at the same time by the clock would not be noticed."""
  monkeypatch.setattr(index, '_SETTLED_NS', 60 * 10**9)
  assert trees.paths(opened(data)) == NAMES
  assert not stored(tmp_path)


def test_a_small_folder_is_not_stored(data, tmp_path, monkeypatch):
  monkeypatch.setattr(index, '_WORTH_FILES', 4)
  assert trees.paths(opened(data)) == NAMES
  assert not stored(tmp_path)


@pytest.mark.parametrize('damage', ['cut', 'flip', 'empty', 'other'])
def test_a_damaged_list_is_replaced(data, tmp_path, damage, scans):
  opened(data)
  (file,) = stored(tmp_path)
  whole = file.read_bytes()
  middle = len(whole) // 2
  flipped = bytes([whole[middle] ^ 1])
  file.write_bytes(
      {
          'cut': whole[:-9],
          'flip': whole[:middle] + flipped + whole[middle + 1 :],
          'empty': b'',
          'other': whole.replace(b'rq_jax arrays 1', b'rq_jax arrays 0'),
      }[damage]
  )
  assert trees.paths(opened(data)) == NAMES
  assert len(scans) == 2
  assert file.read_bytes() == whole


def test_where_nothing_can_be_stored_folders_are_listed(
    data, tmp_path, monkeypatch, scans
):
  (tmp_path / 'cache').write_text('This is no folder.')
  for _ in range(2):
    assert trees.paths(opened(data)) == NAMES
  monkeypatch.setenv('RQ_JAX_FOLDER_INDEX', 'off')
  assert trees.paths(opened(data)) == NAMES
  monkeypatch.delenv('RQ_JAX_FOLDER_INDEX')
  monkeypatch.delenv('XDG_CACHE_HOME')

  def homeless():
    raise RuntimeError('Could not determine home directory.')

  monkeypatch.setattr(pathlib.Path, 'home', homeless)
  assert trees.paths(opened(data)) == NAMES
  assert len(scans) == 4


def test_the_environment_chooses_the_folder(data, tmp_path, monkeypatch):
  monkeypatch.setenv('RQ_JAX_FOLDER_INDEX', str(tmp_path / 'mine'))
  opened(data)
  assert len(list((tmp_path / 'mine').glob('*.tree'))) == 1
  assert not stored(tmp_path)


def test_workers_map_the_stored_list(data, tmp_path):
  opened(data)
  tree = opened(data)
  (file,) = stored(tmp_path)
  sent = pickle.dumps(tree)
  assert str(file).encode() in sent and b'1.png' not in sent
  assert trees.paths(pickle.loads(sent)) == NAMES
  # Another run has stored a new list, and this one keeps its own.
  add(data)
  wait()
  opened(data)
  copy = pickle.loads(pickle.dumps(tree))
  assert trees.paths(copy) == trees.paths(tree) == NAMES
  with pytest.raises(ValueError, match='has changed while worker processes'):
    pickle.loads(sent)


def test_a_written_list_is_read_back_whole(tmp_path):
  trees.fill(tmp_path / 'data', *NAMES, 'x.gif')
  tree = scan.scan(str(tmp_path / 'data'))
  tree_lib.write(tree, str(tmp_path / 'a.tree'), root='data')
  back = tree_lib.load(str(tmp_path / 'a.tree'))
  assert trees.paths(back) == NAMES
  assert list(back.folders) == list(tree.folders)
  assert (back.stamps == tree.stamps).all()
  assert back.ignored == {'.gif files': 1}
  assert tree_lib.load(str(tmp_path / 'none')) is None
