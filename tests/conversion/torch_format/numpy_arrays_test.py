"""Calls that build NumPy arrays give their values, or are refused."""

import numpy as np
import pytest

from rq_jax.conversion.torch_format import numpy_arrays


def refuse(what):
  raise ValueError(what)


def built(shape, columns, data):
  calls = numpy_arrays.Calls(refuse)
  kind = calls.value('numpy dtype', ('f4', False, True))
  array = numpy_arrays.PickledArray()
  assert calls.build(array, (1, shape, kind, columns, data))
  return array.value


@pytest.mark.parametrize('order', 'CF')
def test_values_are_in_the_order_of_rows_or_of_columns(order):
  values = np.arange(6, dtype=np.float32).reshape(2, 3)
  found = built((2, 3), order == 'F', values.tobytes(order))
  np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize('shape', [(0,), (-1,), (True,), (2**40,), (1,) * 33])
def test_an_impossible_shape_is_refused(shape):
  with pytest.raises(ValueError, match='has an array of an impossible shape'):
    built(shape, False, bytes(4 * (shape != (0,))))


def test_values_that_are_too_few_are_refused():
  with pytest.raises(ValueError, match=r'shape \[2\] without 8 bytes'):
    built((2,), False, bytes(7))


def test_a_text_that_is_used_again_counts_again(monkeypatch):
  monkeypatch.setattr(numpy_arrays, 'MAX_BYTES', 10)
  calls = numpy_arrays.Calls(refuse)
  arguments = ('\xff' * 5, 'latin1')
  for _ in range(2):
    assert calls.value('_codecs encode', arguments) == b'\xff' * 5
  with pytest.raises(ValueError, match='holds more than 10 bytes of arrays'):
    calls.value('_codecs encode', arguments)
