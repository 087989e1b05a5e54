"""Hashes of files and of JSON objects."""

import hashlib
import json

import pytest

from rq_jax import hashes
from rq_jax.distributed import progress


def blake(content):
  return hashlib.blake2b(content, digest_size=16).hexdigest()


def test_hashes_are_those_of_the_standard_library(tmp_path):
  (tmp_path / 'x').write_bytes(b'content')
  assert hashes.of_file(tmp_path / 'x') == blake(b'content')
  found = hashes.of_files([tmp_path / 'x', tmp_path / 'missing'])
  assert found == [blake(b'content'), None]
  found = hashes.of_files([tmp_path / 'x'], hashlib.sha256)
  assert found == [hashlib.sha256(b'content').hexdigest()]
  assert hashes.of_value({'b': 1, 'a': [2]}) == blake(b'{"a": [2], "b": 1}')
  assert hashes.of_value({2: 0, 10: 0}) == hashes.of_value({'10': 0, '2': 0})


def test_a_file_that_cannot_be_read_is_an_error_and_not_missing(tmp_path):
  with pytest.raises(OSError, match=str(tmp_path)):
    hashes.of_files([tmp_path])


def test_a_bar_counts_the_bytes_of_all_files_if_it_takes_long(
    tmp_path, monkeypatch, capsys
):
  files = [tmp_path / 'x', tmp_path / 'y']
  for file in files:
    file.write_bytes(bytes(3 * 2**20))
  hashes.of_files(files)
  assert not capsys.readouterr().err
  monkeypatch.setattr(progress, 'SHOWN_AFTER_S', 0)
  hashes.of_files([*files, tmp_path / 'missing'])
  shown = capsys.readouterr().err
  assert 'comparing hashes: 100%' in shown and '6.29M/6.29M' in shown


def test_a_sealed_object_is_what_it_was():
  value = {'b': 1, 'a': {'c': None}}
  sealed = hashes.seal(value)
  text = json.dumps(value, sort_keys=True)
  assert sealed == value | {'hash': blake(text.encode())}
  assert hashes.is_sealed(sealed) and not hashes.is_sealed(value)
  assert hashes.is_intact(sealed) and not hashes.is_intact(value)
  assert hashes.unsealed(sealed, 'x.json') == value
  assert hashes.unsealed(value, 'x.json') == value  # Of an older version.


@pytest.mark.parametrize('change', [{'b': 2}, {'hash': '0' * 32}, {'c': 1}])
def test_a_changed_object_is_refused(change):
  sealed = hashes.seal({'b': 1}) | change
  assert not hashes.is_intact(sealed)
  with pytest.raises(ValueError, match=r'^x\.json is damaged: its contents do'):
    hashes.unsealed(sealed, 'x.json')
