"""Bytes of arrays in a pickle are counted, however often they are used."""

import pytest

from rq_jax.conversion.torch_format import numpy_arrays


def refuse(what):
  raise ValueError(what)


def test_a_text_that_is_used_again_counts_again(monkeypatch):
  monkeypatch.setattr(numpy_arrays, 'MAX_BYTES', 10)
  calls = numpy_arrays.Calls(refuse)
  arguments = ('\xff' * 5, 'latin1')
  for _ in range(2):
    assert calls.value('_codecs encode', arguments) == b'\xff' * 5
  with pytest.raises(ValueError, match='holds more than 10 bytes of arrays'):
    calls.value('_codecs encode', arguments)
