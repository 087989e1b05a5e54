"""Stored arrays come back exactly, or count as missing."""

import numpy as np
import pytest

from rq_jax.data import stored_arrays

ARRAYS = {
    'odd': np.arange(5, dtype=np.uint8),
    'pairs': np.arange(6).reshape(3, 2),
    'none': np.zeros((0, 2), np.int64),
    'labels': np.array([-1, 7], np.int32),
}
ABOUT = {'size': 2**40, 'root': 'ü'}


@pytest.fixture
def path(tmp_path):
  found = tmp_path / 'new' / 'x.index'
  stored_arrays.write(found, 'test 1', ABOUT, ARRAYS)
  return found


def test_arrays_and_what_is_about_them_come_back(path):
  found = stored_arrays.load(path, 'test 1')
  assert found.about == ABOUT
  assert list(found.arrays) == list(ARRAYS)
  for name, array in found.arrays.items():
    assert array.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(array, ARRAYS[name], strict=True)
    assert array.flags.aligned and not array.flags.writeable
  assert found.inode == path.stat().st_ino
  assert path.parent.stat().st_mode & 0o777 == 0o700


def test_another_kind_or_no_file_counts_as_missing(path, tmp_path):
  assert stored_arrays.load(path, 'test 2') is None
  assert stored_arrays.load(tmp_path / 'none', 'test 1') is None
  assert stored_arrays.load(tmp_path, 'test 1') is None


def test_any_damage_is_noticed(path):
  whole = path.read_bytes()
  for content in (b'', whole[:20], whole[:-8], whole + bytes(8)):
    path.write_bytes(content)
    assert stored_arrays.load(path, 'test 1') is None
  for place in range(0, len(whole), 7):
    damaged = bytearray(whole)
    damaged[place] ^= 1
    path.write_bytes(damaged)
    assert stored_arrays.load(path, 'test 1') is None
  path.write_bytes(whole)
  assert stored_arrays.load(path, 'test 1') is not None
