"""Safetensors are read as their package writes them, or refused."""

import json
import random
import re
import struct

import ml_dtypes
import numpy as np
import pytest

from rq_jax.conversion import safetensors_format

ARRAYS = {
    'a.weight': np.arange(6, dtype=np.float32).reshape(2, 3),
    'odd': np.array([1, -2, 3], np.int8),
    'after.odd': np.array([2.5], np.float64),
    'empty': np.zeros((0, 4), np.float16),
    'scalar': np.array(7, np.int64),
    'flags': np.array([True, False]),
}


def entry(start, end, shape=(2,), dtype='F32'):
  return {'dtype': dtype, 'shape': shape, 'data_offsets': [start, end]}


def write(path, header, values=b'', *, length=None):
  """Writes a file with any header: a dict, or the bytes in its place."""
  data = header if isinstance(header, bytes) else json.dumps(header).encode()
  length = len(data) if length is None else length
  path.write_bytes(struct.pack('<Q', length) + data + values)
  return path


def read(path):
  with safetensors_format.SafetensorsFile(path) as file:
    return {name: file.read(tensor) for name, tensor in file.tree.items()}


@pytest.fixture(scope='module')
def valid(tmp_path_factory):
  """A file with the tensors of `ARRAYS`, of all sizes of elements."""
  header, data = {'__metadata__': {'format': 'np'}}, b''
  codes = {'float32': 'F32', 'int8': 'I8', 'float64': 'F64', 'bool': 'BOOL'}
  codes |= {'float16': 'F16', 'int64': 'I64'}
  for name, array in ARRAYS.items():
    end = len(data) + array.nbytes
    code = codes[array.dtype.name]
    header[name] = entry(len(data), end, array.shape, code)
    data += array.tobytes()
  return write(tmp_path_factory.mktemp('st') / 'a.safetensors', header, data)


def check(found):
  assert found.keys() == ARRAYS.keys()
  for name, array in found.items():
    assert array.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(array, ARRAYS[name])
    assert array.shape == ARRAYS[name].shape and array.flags.c_contiguous


def test_tensors_are_read_where_the_header_says(valid):
  check(read(valid))


def test_what_the_package_writes_is_read(tmp_path):
  numpy_files = pytest.importorskip('safetensors.numpy')
  path = tmp_path / 'a.safetensors'
  numpy_files.save_file(ARRAYS, path, metadata={'format': 'np'})
  check(read(path))


def test_bfloat16_is_read(tmp_path):
  values = np.array([1.5, -2], ml_dtypes.bfloat16)
  header = {'a': entry(0, 4, dtype='BF16')}
  found = read(write(tmp_path / 'a', header, values.tobytes()))
  np.testing.assert_array_equal(found['a'], values)
  assert found['a'].dtype == ml_dtypes.bfloat16


def test_an_empty_tensor_may_be_listed_after_the_one_at_its_position(tmp_path):
  header = {'a': entry(0, 8), 'empty': entry(0, 0, (0,))}
  found = read(write(tmp_path / 'a', header, bytes(8)))
  assert [array.shape for array in found.values()] == [(2,), (0,)]


def test_a_file_is_recognised_by_its_name_or_its_first_bytes(tmp_path, valid):
  other = tmp_path / 'model'
  other.write_bytes(valid.read_bytes())
  assert safetensors_format.is_safetensors(other)
  text = tmp_path / 'text.safetensors'
  text.write_text('nothing')
  assert safetensors_format.is_safetensors(text)
  for data in (b'', b'PK\3\4....{', b'{"a": 1}         ', b'12345678{"a": 1}'):
    other.write_bytes(data)
    assert not safetensors_format.is_safetensors(other)


EIGHT = bytes(8)
BAD = {
    'no size of its header': (b'', b'', None, 'it has only 4 bytes'),
    'header longer than the file': ({}, b'', 100, 'only 2 follow'),
    'huge header': ({}, b'', 2**63, 'should have 9223372036854775808 bytes'),
    'header beyond the limit': (
        b'{' + b' ' * 2**24 + b'}',
        b'',
        None,
        'at most 16777216 are read',
    ),
    'header that is cut off': (b'{"a": {', b'', None, 'cannot be read'),
    'header of other letters': (b'{"\xff": 1}', b'', None, 'cannot be read'),
    'deeply nested header': (b'[' * 10**6, b'', None, 'cannot be read'),
    'huge number': (b'{"a":' + b'9' * 10**4 + b'}', b'', None, 'cannot be'),
    'list as a header': (b'[]', b'', None, 'its header is no dict'),
    'text as metadata': ({'__metadata__': 'x'}, b'', None, 'is no dict'),
    'name that occurs twice': (
        b'{"a": {}, "a": {}}',
        b'',
        None,
        'a name occurs twice',
    ),
    'entry without a field': ({'a': {}}, b'', None, "'a' lacks a field"),
    'number as an entry': ({'a': 1}, b'', None, "'a' lacks a field"),
    'unknown type': (
        {'a': entry(0, 8, dtype='F8_E4M3')},
        EIGHT,
        None,
        "'a' has the type 'F8_E4M3', but rq_jax reads only F64",
    ),
    'list as a type': (
        {'a': entry(0, 8, dtype=['F32'])},
        EIGHT,
        None,
        'has the type',
    ),
    'negative size': ({'a': entry(0, 8, [-2])}, EIGHT, None, 'shape of'),
    'fraction as a size': ({'a': entry(0, 8, [2.0])}, EIGHT, None, 'shape of'),
    'truth as a size': ({'a': entry(0, 4, [True])}, EIGHT, None, 'shape of'),
    'many dimensions': ({'a': entry(0, 4, [1] * 33)}, EIGHT, None, 'shape of'),
    'three offsets': (
        {'a': entry(0, 8) | {'data_offsets': [0, 8, 8]}},
        EIGHT,
        None,
        'are not two positions',
    ),
    'huge product of sizes': (
        {'a': entry(0, 0, [2**40, 2**40])},
        b'',
        None,
        "'a' has an impossible shape",
    ),
    'huge product of sizes without values': (
        {'a': entry(0, 0, [0, 2**40, 2**40])},
        b'',
        None,
        "'a' has an impossible shape",
    ),
    'offsets backwards': ({'a': entry(8, 0)}, EIGHT, None, 'offsets give -8'),
    'wrong size': ({'a': entry(0, 8, [3])}, EIGHT, None, 'have 12 bytes'),
    'values outside of the file': (
        {'a': entry(0, 8)},
        EIGHT[:7],
        None,
        'its tensors have 8 bytes, but 7 follow',
    ),
    'values that start outside': (
        {'a': entry(2**50, 2**50 + 8)},
        EIGHT,
        None,
        'starts at byte 1125899906842624 instead of 0',
    ),
    'overlap': (
        {'a': entry(0, 8), 'b': entry(4, 12)},
        EIGHT + EIGHT,
        None,
        "'b' starts at byte 4 instead of 8",
    ),
    'two names of the same values': (
        {'a': entry(0, 8), 'b': entry(0, 8)},
        EIGHT,
        None,
        'overlap or leave a gap',
    ),
    'gap': (
        {'a': entry(0, 8), 'b': entry(9, 17)},
        EIGHT * 3,
        None,
        "'b' starts at byte 9 instead of 8",
    ),
    'bytes of no tensor': (
        {'a': entry(0, 8)},
        EIGHT * 2,
        None,
        'have 8 bytes, but 16 follow',
    ),
}


@pytest.mark.parametrize('name', BAD)
def test_a_file_that_lies_is_refused_in_one_sentence(tmp_path, name):
  header, values, length, message = BAD[name]
  path = write(tmp_path / 'a.safetensors', header, values, length=length)
  if name == 'no size of its header':
    path.write_bytes(bytes(4))
  with pytest.raises(ValueError, match=re.escape(message)) as refusal:
    safetensors_format.SafetensorsFile(path)
  assert type(refusal.value) is ValueError
  assert str(refusal.value).startswith(str(path))
  assert len(str(refusal.value)) < len(str(path)) + 400


def test_a_truth_that_is_neither_is_refused(tmp_path):
  header = {'a': entry(0, 2, dtype='BOOL')}
  path = write(tmp_path / 'a', header, b'\1\2')
  with pytest.raises(ValueError, match='neither true nor false'):
    read(path)


def test_a_closed_file_is_not_read(valid):
  with safetensors_format.SafetensorsFile(valid) as file:
    tensor = file.tree['odd']
  with pytest.raises(ValueError, match='is closed'):
    file.read(tensor)


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path, valid):
  data = valid.read_bytes()
  path = tmp_path / 'a.safetensors'
  for length in range(0, len(data), 2):
    path.write_bytes(data[:length])
    with pytest.raises(ValueError, match='is (damaged|empty)'):
      safetensors_format.SafetensorsFile(path)


def test_flipped_bits_are_refused_or_change_no_layout(tmp_path, valid):
  data = valid.read_bytes()
  path = tmp_path / 'a.safetensors'
  rng = random.Random(0)
  refused = 0
  for _ in range(300):
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(changed)
    try:
      found = read(path)
    except ValueError as error:
      assert type(error) is ValueError and str(error).startswith(str(path))
      refused += 1
    else:
      # A changed name, text, value, or type of the same size.
      sizes = [array.nbytes for array in found.values()]
      assert sum(sizes) == sum(array.nbytes for array in ARRAYS.values())
  assert refused > 150
