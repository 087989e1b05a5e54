"""Files in a tar file are found by one scan, and read at their positions."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import tarfile

import numpy as np
import pytest

from rq_jax.data import tar_index
from tests.data import tars

LONG = f'{"folder/" * 40}{"x" * 200}.jpg'


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
  """Keeps indexes of read-only folders out of the real cache."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'rq_jax' / 'tar_index'


def found(index):
  return {name: index.read(i) for i, name in enumerate(index.names)}


def refused(path, **options):
  with pytest.raises(ValueError) as error:
    tar_index.scan(path, **options)
  message = str(error.value)
  assert message.startswith(str(path))
  return message


@pytest.mark.parametrize('style', [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_of_any_length_and_kind_are_found_with_contents(tmp_path, style):
  contents = {
      'a.jpg': b'one',
      LONG: bytes(range(256)) * 5,
      'Ünïcode 🙂.txt': 'Grüße'.encode(),
      'empty.txt': b'',
      'exactly_a_block': b'z' * 512,
  }
  path = tars.write(tmp_path / 'a.tar', contents, format=style)
  index = tar_index.scan(path)
  assert found(index) == contents
  assert len(index) == 5
  assert (index.offsets.dtype, index.sizes.dtype) == (np.int64, np.int64)
  content = path.read_bytes()
  for offset, size, expected in zip(
      index.offsets, index.sizes, contents.values()
  ):
    assert content[offset : offset + size] == expected


@pytest.mark.process
def test_files_of_gnu_tar_are_found_and_its_folders_are_not(tmp_path):
  (tmp_path / 'data' / 'sub').mkdir(parents=True)
  (tmp_path / 'data' / 'sub' / 'x.txt').write_bytes(b'content')
  (tmp_path / 'data' / os.fsdecode(b'\xff.txt')).write_bytes(b'not UTF-8')
  subprocess.run(['tar', 'cf', 'a.tar', 'data'], cwd=tmp_path, check=True)
  assert found(tar_index.scan(tmp_path / 'a.tar')) == {
      'data/sub/x.txt': b'content',
      os.fsdecode(b'data/\xff.txt'): b'not UTF-8',
  }


def test_tar_files_inside_are_opened_on_request(tmp_path):
  inner = {
      name: tars.write(tmp_path / name, {'1.jpg': name.encode(), LONG: b'long'})
      for name in ('n01.tar', 'n02.tar')
  }
  contents = {name: path.read_bytes() for name, path in inner.items()}
  path = tars.write(tmp_path / 'outer.tar', {**contents, 'README': b'words'})
  assert found(tar_index.scan(path)) == {**contents, 'README': b'words'}
  assert found(tar_index.scan(path, nested=True)) == {
      'n01.tar/1.jpg': b'n01.tar',
      f'n01.tar/{LONG}': b'long',
      'n02.tar/1.jpg': b'n02.tar',
      f'n02.tar/{LONG}': b'long',
      'README': b'words',
  }
  cut = contents['n01.tar'][:1000]
  path = tars.write(tmp_path / 'outer.tar', {'n01.tar': cut, 'n02.tar': b''})
  assert f'{path}/n01.tar is cut off or' in refused(path, nested=True)


def test_a_second_scan_reads_the_stored_index(tmp_path, monkeypatch):
  path = tars.write(tmp_path / 'a.tar', {'a.jpg': b'one', 'b.jpg': b'two'})
  first = tar_index.scan(path)
  assert (tmp_path / 'a.tar.index').exists()
  with monkeypatch.context() as patch:
    patch.setattr(tarfile, 'open', None)  # No header can be read now.
    second = tar_index.scan(path)
  assert found(second) == found(first)
  np.testing.assert_array_equal(second.offsets, first.offsets)


def test_a_changed_or_damaged_index_is_made_again(tmp_path):
  path = tars.write(tmp_path / 'a.tar', {'a.jpg': b'one'})
  tar_index.scan(path)
  time = path.stat().st_mtime_ns
  tars.write(path, {'b.jpg': b'two'})  # As large as before.
  os.utime(path, ns=(time + 1, time + 1))
  assert found(tar_index.scan(path)) == {'b.jpg': b'two'}
  stored = tmp_path / 'a.tar.index'
  for content in (b'', b'nonsense', stored.read_bytes()[:500]):
    stored.write_bytes(content)
    assert found(tar_index.scan(path)) == {'b.jpg': b'two'}


def test_an_index_without_room_beside_the_tar_file_is_in_the_users_cache(
    tmp_path, user_cache, monkeypatch
):
  path = tars.write(tmp_path / 'a.tar', {'a.jpg': b'one'})
  (tmp_path / 'a.tar.index').mkdir()  # Root may write anywhere else.
  assert found(tar_index.scan(path)) == {'a.jpg': b'one'}
  assert len(list(user_cache.iterdir())) == 1
  monkeypatch.setattr(tarfile, 'open', None)
  assert found(tar_index.scan(path)) == {'a.jpg': b'one'}


def test_an_index_that_can_be_stored_nowhere_is_kept_in_memory(
    tmp_path, user_cache
):
  path = tars.write(tmp_path / 'a.tar', {'a.jpg': b'one'})
  (tmp_path / 'a.tar.index').mkdir()
  user_cache.parent.mkdir(parents=True)
  user_cache.write_text('a file in place of the folder')
  assert found(tar_index.scan(path)) == {'a.jpg': b'one'}


def test_contents_that_are_read_in_parts_are_whole(tmp_path, monkeypatch):
  """The system reads at most 2 GiB at once."""
  contents = {'a.jpg': bytes(range(100)), 'b.jpg': b'next'}
  index = tar_index.scan(tars.write(tmp_path / 'a.tar', contents))
  pread = os.pread
  monkeypatch.setattr(os, 'pread', lambda f, n, at: pread(f, min(n, 30), at))
  assert found(index) == contents


def test_threads_and_pickled_copies_read_the_same_bytes(tmp_path):
  contents = {f'{i}.txt': str(i).encode() * i for i in range(300)}
  index = tar_index.scan(tars.write(tmp_path / 'a.tar', contents))
  copy = pickle.loads(pickle.dumps(index))
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(copy.read, range(300))) == list(contents.values())


@pytest.mark.process
def test_another_process_reads_the_same_bytes(tmp_path):
  index = tar_index.scan(
      tars.write(tmp_path / 'a.tar', {'a': b'one', 'b': b'two'})
  )
  assert index.read(0) == b'one'  # The file is open in this process.
  with multiprocessing.get_context('spawn').Pool(1) as pool:
    assert pool.map(index.read, range(2)) == [b'one', b'two']


def test_a_tar_file_that_changes_after_the_scan_is_noticed(tmp_path):
  path = tars.write(tmp_path / 'a.tar', {'a.jpg': b'one'})
  index = tar_index.scan(path)
  tars.write(path, {'long.jpg': b'x' * 20_000})
  with pytest.raises(ValueError, match='has changed since it was scanned'):
    index.read(0)


def test_a_tar_file_cut_off_anywhere_names_its_last_whole_file(tmp_path):
  contents = {f'{i}.jpg': b'x' * 700 for i in range(3)}
  path = tars.write(tmp_path / 'whole.tar', contents)
  whole = path.read_bytes()
  offsets = tar_index.scan(path).offsets.tolist()
  cut = tmp_path / 'cut.tar'
  for length in range(1, offsets[2] + 1024, 100):
    cut.write_bytes(whole[:length])
    done = [i for i, start in enumerate(offsets) if start + 700 <= length]
    last = f'{done[-1]}.jpg' if done else 'none'
    message = refused(cut)
    assert 'cut off' in message and 'Copy or download it again.' in message
    assert f' is {last}. ' in message or f' after {last}, its last' in message
  cut.write_bytes(whole[: offsets[2] + 1024])  # Only the end is missing.
  message = refused(cut)
  assert 'it was cut off after 2.jpg, its last whole' in message
  with cut.open('ab') as file:
    file.write(bytes(1024))  # As truncate --size=+1024.
  assert found(tar_index.scan(cut)) == contents


def test_damaged_headers_and_joined_files_are_refused(tmp_path):
  path = tars.write(tmp_path / 'a.tar', {'a.jpg': b'one', 'b.jpg': b'two'})
  whole = path.read_bytes()
  damaged = bytearray(whole)
  damaged[1024 + 20] ^= 1  # In the header of b.jpg.
  path.write_bytes(damaged)
  message = refused(path)
  assert 'next header cannot be read' in message and 'it is a.jpg' in message
  path.write_bytes(whole + whole)
  assert 'continues after its end, which follows b.jpg' in refused(path)
  path.write_bytes(whole[:-1] + b'x')
  assert 'continues after its end' in refused(path)


@pytest.mark.parametrize(
    ('mode', 'program'), [('gz', 'gunzip'), ('bz2', 'bunzip2'), ('xz', 'unxz')]
)
def test_a_compressed_tar_file_names_the_program_to_use(
    tmp_path, mode, program
):
  path = tmp_path / 'a.tar'
  with tarfile.open(path, f'w:{mode}'):
    pass
  assert f'Decompress it with {program}.' in refused(path)


def test_links_devices_and_sparse_files_are_refused(tmp_path):
  path = tmp_path / 'a.tar'
  for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
    with tarfile.open(path, 'w') as tar:
      member = tarfile.TarInfo('odd.jpg')
      member.type, member.linkname = kind, 'other.jpg'
      tar.addfile(member)
    assert 'contains odd.jpg, which is a link, a device' in refused(path)
  with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as tar:
    member = tarfile.TarInfo('odd.jpg')
    member.pax_headers = {'GNU.sparse.map': '0,0', 'GNU.sparse.size': '9'}
    tar.addfile(member)
  assert 'contains odd.jpg, which is a sparse file' in refused(path)


def test_other_things_than_local_files_are_refused(tmp_path):
  assert 'cannot be read: No such file' in refused(tmp_path / 'none.tar')
  assert 'is not a regular file' in refused(tmp_path)
  assert 'Copy it to a local disk' in refused('gs://bucket/a.tar')
  path = tmp_path / 'words.tar'
  path.write_bytes(b'<html>no tar file</html>' * 100)
  assert 'cut off or damaged' in refused(path)
  path.write_bytes(b'')
  assert 'cut off or damaged' in refused(path)


def test_an_index_takes_few_bytes_per_file(tmp_path):
  names = [f'{i:09d}.jpg' for i in range(500)]
  path = tars.write(tmp_path / 'a.tar', dict.fromkeys(names, b'x'))
  index = tar_index.scan(path)
  arrays = (index.offsets, index.sizes, index.names.ends, index.names.data)
  assert sum(a.nbytes for a in arrays) == 500 * (24 + 13)
  assert list(index.names) == names
  with pytest.raises(IndexError, match='500 names'):
    index.names[500]
  assert pathlib.Path(f'{path}.index').stat().st_size < 500 * 40 + 3000
