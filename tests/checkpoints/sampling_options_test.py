"""Sampling options that a model was released with are kept beside it."""

import pytest

from rq_jax.checkpoints import sampling_options


def test_options_are_read_as_they_were_written(tmp_path):
  given = {'temperature': 0.9, 'top_k': [64, 32], 'top_p': 0.95}
  sampling_options.write(tmp_path, given)
  assert [file.name for file in tmp_path.iterdir()] == ['sampling.json']
  assert sampling_options.read(tmp_path) == given


def test_without_options_there_is_no_file(tmp_path):
  sampling_options.write(tmp_path, {})
  assert not list(tmp_path.iterdir())
  assert sampling_options.read(tmp_path) == {}


def test_a_damaged_file_is_named(tmp_path):
  (tmp_path / 'sampling.json').write_text('{"top_k": ')
  with pytest.raises(ValueError, match='sampling.json is damaged'):
    sampling_options.read(tmp_path)
