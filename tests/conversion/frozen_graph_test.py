"""Frozen graphs: constants are read, and any other bytes are refused."""

import hypothesis
import numpy as np
import pytest

from rq_jax.conversion import frozen_graph
from tests.conversion import fuzz_test
from tests.conversion import graphs

KERNEL = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2) - 5
BIAS = np.array([0.5, -np.inf], np.float32)
VALID = graphs.graph({'conv/conv2d_params': KERNEL, 'softmax/biases': BIAS})


def written(path, content):
  path.write_bytes(content)
  return path


def read(path):
  """The constants of a graph, by name."""
  with frozen_graph.open_graph(path) as graph:
    return {name: graph.read(name) for name in graph.shapes}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('graphs')


def test_float32_constants_are_read_and_all_else_is_skipped(tmp_path):
  path = written(tmp_path / 'graph.pb', VALID)
  assert frozen_graph.is_frozen_graph(path)
  found = read(path)
  assert found.keys() == {'Sub/y', 'conv/conv2d_params', 'softmax/biases'}
  np.testing.assert_array_equal(found['conv/conv2d_params'], KERNEL)
  np.testing.assert_array_equal(found['softmax/biases'], BIAS)
  assert found['Sub/y'] == 128 and found['Sub/y'].shape == ()
  assert {a.dtype for a in found.values()} == {np.dtype('f4')}


def test_arrays_can_be_stored_as_numbers(tmp_path):
  """TensorFlow stores few numbers, or one for all, in another field."""
  packed = graphs.data(5, np.float32([1, 2]).tobytes())
  one = graphs.varint(5 << 3 | 5) + np.float32(3).tobytes()
  content = b''.join(
      [
          graphs.constant('a', graphs.tensor(shape=(2,), content=packed)),
          graphs.constant('b', graphs.tensor(shape=(2, 3), content=one)),
      ]
  )
  found = read(written(tmp_path / 'graph.pb', content))
  np.testing.assert_array_equal(found['a'], [1, 2])
  np.testing.assert_array_equal(found['b'], np.full((2, 3), 3))


def test_only_the_size_of_a_dimension_is_its_size(tmp_path):
  size = graphs.data(2, graphs.integer(1, 2) + graphs.integer(3, 9))
  values = graphs.data(4, BIAS.tobytes())
  value = graphs.integer(1, graphs.FLOAT32) + graphs.data(2, size) + values
  path = written(tmp_path / 'graph.pb', graphs.constant('a', value))
  np.testing.assert_array_equal(read(path)['a'], BIAS)


def test_only_the_value_of_a_constant_is_its_value(tmp_path):
  other = graphs.attribute('other', graphs.data(8, graphs.tensor(BIAS)))
  content = b''.join(
      [
          graphs.node('a', 'Const', other),
          graphs.constant('b', BIAS, operation='Placeholder'),
          graphs.constant('c', BIAS),
      ]
  )
  assert read(written(tmp_path / 'graph.pb', content)).keys() == {'c'}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (VALID[:-30], 'bytes, but only'),
        (b'\n\3\n\1', 'bytes, but only 2 follow'),
        (b'\n\xff\xff', 'the number at byte 1 does not end'),
        (b'\n' + b'\xff' * 10 + b'\1', 'the number at byte 1 does not end'),
        (VALID + b'\x0b', 'starts a field of no known kind'),
        (graphs.integer(4, 1), 'no constant'),
        (graphs.integer(1, 5), 'holds the number 5 instead of bytes'),
        (graphs.data(1, graphs.data(1, b'\xff')), 'byte 4 starts no text'),
        (
            graphs.constant('a', BIAS) * 2,
            "'a' occurs twice",
        ),
        (
            graphs.constant('a', graphs.tensor(BIAS, shape=(3,))),
            r"'a' of shape '\[3\]' has 8 bytes in 1 parts",
        ),
        (
            graphs.constant('a', graphs.tensor(shape=(2,), content=b'')),
            'has 0 bytes in 0 parts',
        ),
        (
            graphs.constant(
                'a', graphs.tensor(BIAS, more=graphs.data(5, BIAS.tobytes()))
            ),
            'has 16 bytes in 2 parts',
        ),
        (
            graphs.constant('a', graphs.tensor(BIAS[:1], shape=(0,))),
            'has 4 bytes',
        ),
        # One number for more values than any array of the network has.
        (
            graphs.constant('a', graphs.tensor(BIAS[:1], shape=(2**20, 2**63))),
            'has 4 bytes',
        ),
        (
            graphs.constant('a', graphs.tensor(BIAS[:1], shape=(1,) * 33)),
            'has 33 dimensions',
        ),
    ],
)
def test_damaged_and_hostile_files_are_refused_in_one_sentence(
    content, message, tmp_path
):
  path = written(tmp_path / 'graph.pb', content)
  with pytest.raises(ValueError, match=message) as error:
    read(path)
  assert str(error.value).startswith(f'{path} is damaged, or not a frozen')
  assert str(error.value).endswith('. Download or copy it again.')


def test_a_file_of_endless_fields_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(frozen_graph, 'MAX_FIELDS', 100)
  node = graphs.constant('a', BIAS)
  for count, message in ((100, 'no constant'), (101, 'more than 100 fields')):
    path = written(tmp_path / 'graph.pb', graphs.data(9, b'') * count)
    with pytest.raises(ValueError, match=message):
      read(path)
  path = written(tmp_path / 'graph.pb', graphs.data(9, b'') * 80 + node)
  assert read(path).keys() == {'a'}


def test_other_files_are_not_taken_for_graphs(tmp_path):
  for content in (b'PK\3\4', b'\x80\2', b'\n', b'\n\n', b'{"a": 1}'):
    assert not frozen_graph.is_frozen_graph(written(tmp_path / 'x', content))
  # The header of a safetensors file, whose length is 0x0a.
  content = b'\n' + bytes(7) + b'{"a": {}}  '
  assert not frozen_graph.is_frozen_graph(written(tmp_path / 'x', content))
  with pytest.raises(ValueError, match='does not exist'):
    frozen_graph.is_frozen_graph(tmp_path / 'nowhere')


def check(path):
  """Reads all values of a file; only a short ValueError is allowed."""
  try:
    read(path)
  except ValueError as error:
    assert type(error) is ValueError
    assert str(error).startswith(str(path)) and len(str(error)) < 1000


def test_a_file_that_ends_anywhere_is_read_or_refused(folder):
  for end in range(1, len(VALID)):
    check(written(folder / 'cut.pb', VALID[:end]))


def test_a_changed_bit_of_any_byte_is_read_or_refused(folder):
  for i in range(len(VALID)):
    content = bytearray(VALID)
    content[i] ^= 1 << i % 8
    check(written(folder / 'flipped.pb', bytes(content)))


@hypothesis.given(fuzz_test.MUTATIONS)
@fuzz_test.fuzz
def test_any_bytes(folder, mutations):
  content = fuzz_test.mutated(VALID, mutations)
  check(written(folder / 'mutated.pb', content or b'\0'))
