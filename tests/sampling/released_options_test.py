"""A sampler draws as its model was released, unless a call sets it."""

import jax
import numpy as np
import pytest

from rq_jax.checkpoints import sampling_options
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from tests.jobs import generators

_KEY = jax.random.key(1)
_LABELS = [3, 7, 3, 0]


@pytest.fixture
def folder(tmp_path):
  generators.export(tmp_path)
  sampling_options.write(tmp_path, {'top_k': 2, 'top_p': 0.9})
  return tmp_path


def test_a_restored_sampler_says_and_uses_the_options(folder, capsys):
  sampler = Sampler.restore(folder)
  assert sampler.sampling == Sampling(top_k=2, top_p=0.9)
  assert capsys.readouterr().out == (
      f'Sampler: parameters from {folder}; samples with top_k=2, top_p=0.9 by'
      ' default.\n'
  )
  plain = generators.labelled_sampler()
  codes = sampler.codes(_KEY, labels=_LABELS)
  asked = Sampling(top_k=2, top_p=0.9)
  expected = plain.codes(_KEY, labels=_LABELS, sampling=asked)
  np.testing.assert_array_equal(codes, expected)
  other = sampler.codes(_KEY, labels=_LABELS, sampling=Sampling())
  expected = plain.codes(_KEY, labels=_LABELS)
  np.testing.assert_array_equal(other, expected)
  assert not np.array_equal(codes, other)


def test_lists_hold_one_number_per_depth(folder):
  sampling_options.write(folder, {'top_k': [2, 5]})
  sampler = Sampler.restore(folder, verbose=False)
  assert sampler.sampling == Sampling(top_k=(2, 5))


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'top_k': 0}, 'top_k=0 must be a whole number'),
        ({'topk': 3}, 'unexpected keyword argument'),
        ({'temperature': 'hot'}, 'not supported between'),
    ],
)
def test_a_damaged_file_is_refused(folder, options, words):
  sampling_options.write(folder, options)
  with pytest.raises(ValueError, match=f'sampling.json is damaged: .*{words}'):
    Sampler.restore(folder)
