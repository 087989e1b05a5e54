"""Hashes of files and of JSON objects."""

import hashlib
import json

import pytest

from rq_jax import hashes


def blake(content):
  return hashlib.blake2b(content, digest_size=16).hexdigest()


def test_hashes_are_those_of_the_standard_library(tmp_path):
  (tmp_path / 'x').write_bytes(b'content')
  assert hashes.of_file(tmp_path / 'x') == blake(b'content')
  found = hashes.of_files([tmp_path / 'x', tmp_path / 'missing', tmp_path])
  assert found == [blake(b'content'), None, None]
  assert hashes.of_value({'b': 1, 'a': [2]}) == blake(b'{"a": [2], "b": 1}')


def test_a_sealed_object_is_what_it_was():
  value = {'b': 1, 'a': {'c': None}}
  sealed = hashes.seal(value)
  text = json.dumps(value, sort_keys=True)
  assert sealed == value | {'hash': blake(text.encode())}
  assert hashes.is_sealed(sealed) and not hashes.is_sealed(value)
  assert hashes.unsealed(sealed, 'x.json') == value
  assert hashes.unsealed(value, 'x.json') == value  # Of an older version.


@pytest.mark.parametrize('change', [{'b': 2}, {'hash': '0' * 32}, {'c': 1}])
def test_a_changed_object_is_refused(change):
  sealed = hashes.seal({'b': 1}) | change
  with pytest.raises(ValueError, match=r'^x\.json is damaged: its contents do'):
    hashes.unsealed(sealed, 'x.json')
