"""Written files are read with the same bits and the same sharing."""

import collections
import os
import zipfile

import numpy as np
import pytest

from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import tensors
from rq_jax.conversion.torch_format import writing

DTYPES = list(tensors.STORAGE_TYPES.values())


class _Streamed:
  """A tensor whose values are made when `read` is called."""

  def __init__(self, array, *, shape=None, log=None):
    self.shape = array.shape if shape is None else shape
    self.dtype = array.dtype
    self._array = array
    self._log = [] if log is None else log

  def read(self):
    self._log.append(self)
    return self._array


def random(dtype, shape):
  """Random bits of a type, including infinities and NaNs."""
  count = int(np.prod(shape)) * dtype.itemsize
  high = 2 if dtype == np.bool_ else 256
  data = np.random.default_rng(0).integers(0, high, count, np.uint8)
  return data.view(dtype).reshape(shape)


def bits(array):
  return array.shape, array.dtype, array.tobytes()


@pytest.mark.parametrize('shape', [(), (5,), (3, 4, 5), (0,), (2, 0)])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_every_bit_of_every_type_comes_back(tmp_path, dtype, shape):
  array = random(dtype, shape)
  writing.write(tmp_path / 'a.pt', {'a': array})
  with reading.TorchFile(tmp_path / 'a.pt') as file:
    assert bits(file.read(file.tree['a'])) == bits(array)


def test_arrays_in_another_order_of_memory_keep_their_values(tmp_path):
  array = np.arange(24.0).reshape(2, 3, 4)
  tree = [array.T, array[:, ::-2], np.asfortranarray(array)]
  writing.write(tmp_path / 'a.pt', tree)
  with reading.TorchFile(tmp_path / 'a.pt') as file:
    for expected, tensor in zip(tree, file.tree, strict=True):
      np.testing.assert_array_equal(file.read(tensor), expected, strict=True)


TREE = {
    'text': 'Kodebuch \N{GREEK SMALL LETTER PHI} \N{GRINNING FACE}',
    'numbers': [0, -1, 2**31 - 1, -(2**31), 2**31, -(2**63), 2**64 - 1],
    'reals': (0.1, -0.0, float('inf'), 1e-310),
    'flags': [True, False, None],
    'empty': [{}, [], (), collections.OrderedDict(), ''],
    7: {'nested': collections.OrderedDict(b=1, a=(2,))},
}


def test_containers_and_numbers_come_back_with_their_types(tmp_path):
  writing.write(tmp_path / 'a.pt', TREE)
  with reading.TorchFile(tmp_path / 'a.pt') as file:
    assert repr(file.tree) == repr(TREE)


def test_order_of_keys_is_kept(tmp_path):
  state = collections.OrderedDict((str(i), i) for i in (3, 1, 2))
  writing.write(tmp_path / 'a.pt', state)
  with reading.TorchFile(tmp_path / 'a.pt') as file:
    assert list(file.tree) == ['3', '1', '2']


def test_one_object_is_written_once_and_shared(tmp_path):
  codebook, equal = np.arange(5.0), np.arange(5.0)
  writing.write(tmp_path / 'a.pt', {'0': codebook, '1': codebook, '2': equal})
  with reading.TorchFile(tmp_path / 'a.pt') as file:
    storages = [tensor.storage for tensor in file.tree.values()]
    assert storages == ['0', '0', '1']
    for tensor in file.tree.values():
      np.testing.assert_array_equal(file.read(tensor), codebook)


def test_storages_are_aligned_and_stored(tmp_path):
  tree = [np.arange(n, dtype=np.uint8) for n in range(1, 130, 7)]
  writing.write(tmp_path / 'a.pt', tree)
  data = (tmp_path / 'a.pt').read_bytes()
  with zipfile.ZipFile(tmp_path / 'a.pt') as archive:
    assert archive.testzip() is None
    for info in archive.infolist():
      assert info.compress_type == zipfile.ZIP_STORED
  for array in tree[3:]:
    assert data.index(array.tobytes()) % 64 == 0


def test_large_members_get_the_larger_headers(tmp_path, monkeypatch):
  monkeypatch.setattr(writing, '_ZIP64_FROM', 0)
  array = np.arange(1000.0)
  writing.write(tmp_path / 'a.pt', array)
  data = (tmp_path / 'a.pt').read_bytes()
  assert data.index(array.tobytes()) % 64 == 0
  with zipfile.ZipFile(tmp_path / 'a.pt') as archive:
    assert archive.testzip() is None
  with reading.TorchFile(tmp_path / 'a.pt') as file:
    np.testing.assert_array_equal(file.read(file.tree), array)


def test_tensors_are_read_one_by_one_in_order_and_once(tmp_path):
  log = []
  leaves = [_Streamed(np.full(3, i), log=log) for i in range(3)]
  writing.write(tmp_path / 'a.pt', [*leaves, leaves[0]])
  assert log == leaves
  with reading.TorchFile(tmp_path / 'a.pt') as file:
    values = [file.read(tensor).tolist() for tensor in file.tree]
  assert values == [[0] * 3, [1] * 3, [2] * 3, [0] * 3]


def test_equal_trees_are_equal_files(tmp_path):
  for name in ('a.pt', 'b.pt'):
    writing.write(tmp_path / name, {'a': np.arange(3), **TREE})
  assert (tmp_path / 'a.pt').read_bytes() == (tmp_path / 'b.pt').read_bytes()


def _nested(depth):
  tree = []
  for _ in range(depth):
    tree = [tree]
  return tree


@pytest.mark.parametrize(
    ('tree', 'message'),
    [
        ({'a': object()}, 'a object'),
        ({'a': {1, 2}}, 'a set'),
        ({(1,): 2}, 'a tuple as a key'),
        (2**64, '64 bits'),
        (b'bytes', 'a bytes'),
        (np.float32(1), 'a float32 of float32'),
        (np.zeros(2, np.complex64), 'ndarray of complex64'),
        (np.zeros(2, '>f4'), 'ndarray of >f4'),
        (np.array(['a']), 'ndarray of <U1'),
        (np.zeros((1,) * 33), 'ndarray of float64'),
        (_nested(100), 'more than 64 nested'),
        ('a' * 17_000_000, 'bytes beside the tensors'),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, tree, message):
  path = tmp_path / 'a.pt'
  path.write_bytes(b'what was there before')
  with pytest.raises(ValueError, match=message):
    writing.write(path, tree)
  assert path.read_bytes() == b'what was there before'
  assert os.listdir(tmp_path) == ['a.pt']


def test_a_tensor_that_is_read_as_something_else_is_refused(tmp_path):
  tensor = _Streamed(np.zeros(3), shape=(4,))
  with pytest.raises(ValueError, match=r'float64\[4\] was read as'):
    writing.write(tmp_path / 'a.pt', tensor)
