"""Files of torch.save before 1.6 are read as they were written, or refused."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest

from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import tensors
from tests.conversion import pickles

MAGIC, VERSION, SYSTEM = pickles.MAGIC, pickles.VERSION, pickles.SYSTEM
TENSOR = pickles.whole(pickles.tensor())
PAIR = pickles.tensor(pickles.storage('LongStorage', '7', 2), shape=(2,))
TWO = pickles.whole(pickles.together(pickles.tensor(), PAIR))
TWO_STORAGES = {'7': (2, struct.pack('<2q', -5, 6)), '0': (4, pickles.VALUES)}


def read(path):
  """The tree of a file, and the values of its tensors in their order."""
  with reading.TorchFile(path) as file:
    tensors = file.tree
    if isinstance(tensors, dict):
      tensors = list(tensors.values())
    elif isinstance(tensors, reading.LazyTensor):
      tensors = [tensors]
    return file.tree, [file.read(tensor) for tensor in tensors]


@pytest.mark.parametrize('name', ['a.pt', 'vgg.pth', 'last.ckpt', 'model.bin'])
@pytest.mark.parametrize('write', [pickles.write, pickles.write_legacy])
def test_a_file_is_read_as_what_it_is_under_any_name(tmp_path, write, name):
  _, values = read(write(tmp_path / name, TENSOR))
  np.testing.assert_array_equal(values[0], np.float32([1, 2, 3, 4]))


def test_storages_lie_in_the_order_of_the_list(tmp_path):
  path = pickles.write_legacy(tmp_path / 'a.pth', TWO, TWO_STORAGES)
  _, (first, second) = read(path)
  np.testing.assert_array_equal(first, np.float32([1, 2, 3, 4]), strict=True)
  np.testing.assert_array_equal(second, np.int64([-5, 6]), strict=True)


def test_views_have_the_values_that_their_strides_select(tmp_path):
  view = pickles.tensor(shape=(2, 2), stride=(1, 2))
  _, values = read(
      pickles.write_legacy(tmp_path / 'a.pth', pickles.whole(view))
  )
  np.testing.assert_array_equal(values[0], [[1, 3], [2, 4]])


@pytest.mark.parametrize(('kind', 'dtype'), tensors.STORAGE_TYPES.items())
def test_storages_of_all_types_are_read(tmp_path, kind, dtype):
  expected = np.array([1, 0, 1], dtype)
  pickled = pickles.tensor(pickles.storage(kind, numel=3), shape=(3,))
  path = pickles.write_legacy(
      tmp_path / 'a.pth',
      pickles.whole(pickled),
      {'0': (3, expected.tobytes())},
  )
  np.testing.assert_array_equal(read(path)[1][0], expected, strict=True)


def test_a_file_without_tensors_is_read(tmp_path):
  path = pickles.write_legacy(
      tmp_path / 'a.pth', pickles.whole(pickles.number(7)), {}
  )
  with reading.TorchFile(path) as file:
    assert file.tree == 7


@pytest.mark.parametrize('key', ['lin0.weight', 'l\u00e4nge', 'x' * 300])
def test_a_state_dict_of_python_2_is_read(tmp_path, key):
  path = tmp_path / 'a.pth'
  pickles.write_legacy(path, pickles.state_of_python_2(key.encode()))
  tree, values = read(path)
  assert type(tree) is collections.OrderedDict and list(tree) == [key]
  np.testing.assert_array_equal(values[0], np.float32([2, 3]), strict=True)


def test_a_text_of_python_2_that_is_no_utf8_is_refused(tmp_path):
  path = pickles.write_legacy(
      tmp_path / 'a.pth', pickles.state_of_python_2(b'\xff')
  )
  with pytest.raises(ValueError, match='wrong in an instruction SHORT_BINSTR'):
    reading.TorchFile(path)


def test_a_parameter_of_before_0_4_is_its_tensor(tmp_path):
  path = pickles.write_legacy(tmp_path / 'a.pth', pickles.state_of_parameters())
  tree, values = read(path)
  assert list(tree) == ['weight']
  np.testing.assert_array_equal(values[0], np.float32([[1, 2], [3, 4]]))


def test_a_file_that_becomes_shorter_while_it_is_open_is_damaged(tmp_path):
  path = pickles.write_legacy(tmp_path / 'a.pth', TWO, TWO_STORAGES)
  with reading.TorchFile(path) as file:
    with open(path, 'r+b') as damaged:
      damaged.truncate(path.stat().st_size - 1)
    with pytest.raises(ValueError, match='is damaged: it ends too early'):
      for tensor in file.tree:
        file.read(tensor)


def _listed(*keys):
  return pickles.whole(
      pickle.EMPTY_LIST + pickle.MARK + b''.join(keys) + pickle.APPENDS
  )


ZERO, ONE = pickles.text('0'), pickles.text('1')
BIG = pickles.whole(pickles.ENDIAN + pickle.NEWFALSE + pickle.SETITEM)
VIEW = pickles.together(pickles.text('7'), pickles.numbers([0, 4]))
PART = pickles.tensor(pickles.storage(more=(VIEW,)))

# By name: the differences from a good file, and a part of the error.
HOSTILE = {
    'another version': (
        {'head': (MAGIC, VERSION.replace(b'\xe9', b'\xea'), SYSTEM)},
        'version of its format is not 1001',
    ),
    'big-endian': ({'head': (MAGIC, VERSION, BIG)}, 'a big-endian machine'),
    'no byte order': (
        {'head': (MAGIC, VERSION, pickles.whole(pickle.EMPTY_DICT))},
        'a big-endian machine',
    ),
    'machine that is a number': (
        {'head': (MAGIC, VERSION, pickles.whole(pickles.number(1)))},
        'does not describe the machine',
    ),
    'machine that is a command': (
        {
            'head': (
                MAGIC,
                VERSION,
                pickles.whole(
                    pickles.name('os', 'system')
                    + pickles.together(pickles.text('touch executed'))
                    + pickle.REDUCE
                ),
            )
        },
        'os.system',
    ),
    'keys that are a command': (
        {
            'keys': pickles.whole(
                pickles.name('posix', 'system')
                + pickles.together(pickles.text('touch executed'))
                + pickle.REDUCE
            )
        },
        'posix.system',
    ),
    'part of another storage': (
        {'pickled': pickles.whole(PART)},
        'a part of another one',
    ),
    'fewer elements': ({'storages': {'0': (3, b'')}}, 'but it has 3'),
    'more elements': ({'storages': {'0': (2**62, b'')}}, f'has {2**62}'),
    'negative number of elements': (
        {'storages': {'0': (-4, pickles.VALUES)}},
        'but it has -4',
    ),
    'large storage': (
        {
            'pickled': pickles.whole(
                pickles.tensor(pickles.storage(numel=2**62))
            ),
            'storages': {'0': (2**62, pickles.VALUES)},
        },
        f'should have {2**64} bytes, but only 16 are left',
    ),
    'missing key': ({'keys': _listed()}, "storage '0' is missing"),
    'key that occurs twice': ({'keys': _listed(ZERO, ZERO)}, 'lists a storage'),
    'unknown key': (
        {'keys': _listed(ZERO, ONE)},
        "nothing in it uses storage '1'",
    ),
    'key that is a number': (
        {'keys': _listed(pickles.number(0))},
        'its list of storages cannot be read',
    ),
    'key that is a list': (
        {'keys': _listed(pickle.EMPTY_LIST)},
        'its list of storages cannot be read',
    ),
    'keys that are no list': (
        {'keys': pickles.whole(ZERO)},
        'its list of storages cannot be read',
    ),
    'bytes after the end': (
        {'storages': {'0': (4, pickles.VALUES + b'\0')}},
        '1 bytes follow its last storage',
    ),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_a_file_that_lies_is_refused_in_one_sentence(
    tmp_path, monkeypatch, name
):
  monkeypatch.chdir(tmp_path)
  change, message = HOSTILE[name]
  path = pickles.write_legacy(
      tmp_path / 'a.pth', **({'pickled': TENSOR} | change)
  )
  with pytest.raises(ValueError, match=message) as refusal:
    reading.TorchFile(path)
  assert type(refusal.value) is ValueError
  assert str(refusal.value).startswith(str(path))
  assert os.listdir(tmp_path) == ['a.pth']


def test_another_magic_number_is_that_of_no_file_of_torch(tmp_path):
  head = (MAGIC.replace(b'\x19', b'\x20'), VERSION, SYSTEM)
  path = pickles.write_legacy(tmp_path / 'a.pth', TENSOR, head=head)
  with pytest.raises(
      ValueError, match='a pickle that torch.save did not write'
  ):
    reading.TorchFile(path)


def test_a_file_that_is_cut_off_anywhere_is_damaged(tmp_path):
  path = pickles.write_legacy(tmp_path / 'a.pth', TWO, TWO_STORAGES)
  data = path.read_bytes()
  for length in range(len(data)):
    path.write_bytes(data[:length])
    kind = 'damaged: ' if length >= len(MAGIC) else '(not a file of|empty)'
    with pytest.raises(ValueError, match=f'a.pth is {kind}'):
      reading.TorchFile(path)
