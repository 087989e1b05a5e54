"""Files appear whole or not at all, and full disks are reported."""

import collections
import errno
import io
import json
import os
import pwd
import shutil

from etils import epath
import numpy as np
import pytest

from rq_jax import files

_Usage = collections.namedtuple('_Usage', 'total used free')


def leave(monkeypatch, free):
  """Pretends that all disks have `free` free bytes."""
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: _Usage(10**9, 0, free))


def full():
  return OSError(errno.ENOSPC, 'No space left on device')


def names(folder):
  return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ('dtype', 'shape'),
    [('uint8', (3, 2, 2, 3)), (np.float16, (2,)), ('<i4', ()), ('>i4', (0, 5))],
)
def test_a_npy_file_begins_as_numpy_saves_it(dtype, shape):
  array = np.ones(shape, dtype)
  saved = io.BytesIO()
  np.save(saved, array)
  header = files.npy_header(dtype, shape)
  assert header + array.tobytes() == saved.getvalue()


def test_a_file_gets_its_name_once_it_is_whole(tmp_path):
  with files.whole(tmp_path / 'a') as file:
    file.write(b'whole')
    assert not (tmp_path / 'a').exists()
  assert (tmp_path / 'a').read_bytes() == b'whole'
  assert names(tmp_path) == ['a']


def test_a_json_file_holds_the_value_whatever_its_characters(tmp_path):
  value = {'name': 'Kätzchen \udcff', 'sizes': [1, 2.5, None]}
  files.write_json(tmp_path / 'a.json', value)
  assert files.read_json_object(tmp_path / 'a.json') == value
  assert (tmp_path / 'a.json').read_bytes().endswith(b'\n}\n')
  assert names(tmp_path) == ['a.json']


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
  (tmp_path / 'a').write_bytes(b'old')
  with pytest.raises(KeyError), files.whole(tmp_path / 'a') as file:
    file.write(b'half')
    raise KeyError
  assert (tmp_path / 'a').read_bytes() == b'old'
  assert names(tmp_path) == ['a']


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_is_missing(
    number, tmp_path, monkeypatch
):
  leave(monkeypatch, free=1_500_000)
  with (
      pytest.raises(files.DiskFullError) as info,
      files.whole(tmp_path / 'a', needs=4_000_000),
  ):
    raise OSError(number, 'full')
  assert str(info.value) == (
      f'The disk of {tmp_path}/a is full: 1.5 MB are free, and 4.0 MB are'
      ' needed. Free at least 2.5 MB more, or choose a folder on another disk.'
  )
  assert names(tmp_path) == []


def test_a_quota_is_told_from_a_full_disk(tmp_path, monkeypatch):
  leave(monkeypatch, free=10**12)
  with (
      pytest.raises(files.DiskFullError, match='or your quota .* 3.2 kB are'),
      files.whole(tmp_path / 'a', needs=3200),
  ):
    raise OSError(errno.EDQUOT, 'Disk quota exceeded')


def test_a_path_may_begin_with_a_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert files.path('~', '--out') == str(tmp_path)
  assert files.path('~/a b', '--out') == f'{tmp_path}/a b'
  assert files.path(epath.Path('~/a'), 'out') == f'{tmp_path}/a'
  root = pwd.getpwuid(0)
  assert files.path(f'~{root.pw_name}/a', 'out') == f'{root.pw_dir}/a'


@pytest.mark.parametrize(
    'given',
    ['a', './~', 'a/~/b', '/a', 'gs://b/~/a', ' a', epath.Path('gs://b')],
)
def test_other_paths_stay_as_they_are(given):
  assert files.path(given, '--out') == os.fspath(given)


@pytest.mark.parametrize('given', ['', ' ', '\t\n'])
def test_an_empty_path_is_refused_by_name(given):
  with pytest.raises(ValueError) as error:
    files.path(given, '--workdir')
  assert str(error.value) == (
      f'--workdir={given!r} names no file or folder. Give a path. If it came'
      ' from a shell variable, that variable is not set.'
  )


def test_a_home_folder_that_is_not_there_is_refused():
  with pytest.raises(ValueError) as error:
    files.path('~no-such-user/a', 'dst')
  assert str(error.value) == (
      'dst=~no-such-user/a cannot be used: there is no home folder'
      ' ~no-such-user. Write the path in full, or write ./~no-such-user if the'
      ' name itself begins with ~.'
  )


@pytest.mark.parametrize('text', ['[1]', '"a"', 'null'])
def test_json_that_is_no_object_is_named(text, tmp_path):
  (tmp_path / 'a').write_text(text)
  with pytest.raises(ValueError, match=f'{tmp_path}/a is damaged: it holds a'):
    files.read_json_object(tmp_path / 'a')
  (tmp_path / 'a').write_text('{"b": 1}')
  assert files.read_json_object(tmp_path / 'a') == {'b': 1}


def test_errors_of_other_kinds_stay_what_they_are(tmp_path):
  for error in (OSError(errno.EIO, 'worn out'), ValueError('wrong')):
    with pytest.raises(type(error)) as info, files.whole(tmp_path / 'a'):
      raise error
    assert info.value is error


def test_libraries_below_report_a_full_disk_as_text(tmp_path, monkeypatch):
  leave(monkeypatch, free=7)
  text = 'RESOURCE_EXHAUSTED: Error writing "x": No space left on device'
  with (
      pytest.raises(files.DiskFullError, match='a is full: 7 bytes are free.'),
      files.naming_a_full_disk(tmp_path / 'a'),
  ):
    raise ValueError(text)
  with (
      pytest.raises(ValueError, match='^wrong'),
      files.naming_a_full_disk(tmp_path / 'a'),
  ):
    raise ValueError('wrong')


def test_a_folder_gets_its_name_once_it_is_whole(tmp_path):
  with files.whole_folder(tmp_path / 'b' / 'a') as folder:
    (folder / 'x').write_text('new')
    assert not (tmp_path / 'b' / 'a').exists()
  assert names(tmp_path / 'b') == ['a']
  assert names(tmp_path / 'b' / 'a') == ['x']


def test_a_folder_that_is_there_is_replaced_only_on_request(tmp_path):
  (tmp_path / 'a').mkdir()
  (tmp_path / 'a' / 'old').write_text('')
  with (
      pytest.raises(ValueError, match='not empty'),
      files.whole_folder(tmp_path / 'a'),
  ):
    pass
  assert names(tmp_path / 'a') == ['old']
  with files.whole_folder(tmp_path / 'a', replace=True) as folder:
    (folder / 'new').write_text('')
  assert names(tmp_path / 'a') == ['new']
  assert names(tmp_path) == ['a']


def test_what_a_killed_process_left_of_a_folder_is_not_kept(tmp_path):
  (tmp_path / 'a.partial').mkdir()
  (tmp_path / 'a.partial' / 'left').write_text('over')
  with files.whole_folder(tmp_path / 'a') as folder:
    assert names(folder) == []
  assert names(tmp_path) == ['a']


def test_a_folder_that_fails_needs_what_was_written_too(tmp_path, monkeypatch):
  leave(monkeypatch, free=100)
  with (
      pytest.raises(files.DiskFullError, match='a is full: 100 bytes .* 650'),
      files.whole_folder(tmp_path / 'a') as folder,
  ):
    (folder / 'x').write_bytes(bytes(50))
    files.require_space(folder / 'y', 600)
  assert names(tmp_path) == []
  with (
      pytest.raises(files.DiskFullError, match='a is full: 100 bytes are free'),
      files.whole_folder(tmp_path / 'a'),
  ):
    raise full()
  assert names(tmp_path) == []


def test_space_is_required_where_a_path_will_be(tmp_path, monkeypatch):
  asked = []

  def usage(folder):
    asked.append(folder)
    return _Usage(10, 0, 10)

  monkeypatch.setattr(shutil, 'disk_usage', usage)
  files.require_space(tmp_path / 'not' / 'there', 10)
  assert asked == [tmp_path]
  with pytest.raises(files.DiskFullError, match='11 bytes are needed'):
    files.require_space(tmp_path / 'not' / 'there', 11)
  # The free space of remote storage is unknown.
  files.require_space('gs://bucket/run', 10**18)


@pytest.mark.parametrize('text', ['{"a": 1,', '', b'\xff\xfe{'])
def test_json_that_cannot_be_read_is_named(text, tmp_path):
  file = tmp_path / 'config.json'
  file.write_bytes(text if isinstance(text, bytes) else text.encode())
  with pytest.raises(ValueError, match=f'{file} is damaged'):
    files.read_json(file)
  with pytest.raises(FileNotFoundError):
    files.read_json(tmp_path / 'none')
  file.write_text(json.dumps({'a': [1]}))
  assert files.read_json(file) == {'a': [1]}


@pytest.mark.parametrize(
    ('count', 'text'),
    [
        (0, '0 bytes'),
        (999, '999 bytes'),
        (1000, '1.0 kB'),
        (2_340_000, '2.3 MB'),
        (5 * 10**9, '5.0 GB'),
        (7 * 10**15, '7000.0 TB'),
    ],
)
def test_numbers_of_bytes_are_readable(count, text):
  assert files.readable(count) == text
