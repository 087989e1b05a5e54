"""Code maps row by row, which are those drawn at once."""

import jax
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.sampling import programs
from rq_jax.sampling.options import Sampling
from tests.sampling import models

_KEY = jax.random.key(6)
_LABELS = [3, 7, 0, 1, 2]


@pytest.mark.parametrize(
    'asked',
    [
        dict(),
        dict(sampling=Sampling(guidance=3.0, guidance_schedule='linear')),
        dict(first_index=4, sampling=Sampling(top_k=3)),
    ],
    ids=['plain', 'guided', 'shifted'],
)
def test_rows_are_those_of_whole_maps(asked):
  sampler = models.sampler()
  codes = np.asarray(sampler.codes(_KEY, labels=_LABELS, **asked))
  parts = list(sampler.stream(_KEY, labels=_LABELS, **asked))
  assert len(parts) == 2
  for i, part in enumerate(parts):
    assert part.dtype == np.int32 and part.shape == codes.shape
    np.testing.assert_array_equal(part[:, : i + 1], codes[:, : i + 1])
    assert (np.asarray(part[:, i + 1 :]) == -1).all()


def test_rows_of_texts_are_those_of_whole_maps():
  sampler = models.sampler(num_classes=0, text_vocab_size=9, text_length=3)
  tokens = np.array([[1, 2, 3], [8, 0, 3]])
  *_, last = sampler.stream(_KEY, tokens=tokens)
  np.testing.assert_array_equal(last, sampler.codes(_KEY, tokens=tokens))


def test_on_a_mesh_rows_are_those_of_one_device():
  mesh = partitioning.make_mesh(dict(data=4, model=2))
  spread = models.on_mesh(mesh)
  parts = spread.stream(_KEY, labels=_LABELS)
  for part, alone in zip(
      parts, models.sampler().stream(_KEY, labels=_LABELS), strict=True
  ):
    np.testing.assert_array_equal(part, alone)


def test_each_part_can_be_looked_at():
  sampler = models.sampler()
  first, last = sampler.stream(_KEY, labels=_LABELS)
  tokenizer = sampler.tokenizer
  (words,) = map(np.asarray, tokenizer.codebooks)
  features = words[np.asarray(last)].sum(axis=-2)
  features[:, 1:] = 0
  expected = jax.jit(tokenizer.model.apply, static_argnames='method')(
      tokenizer.variables,
      tokenizer.model.bind(tokenizer.variables).quantizer.unfold(features),
      method='decode',
  )
  images = np.asarray(tokenizer.decode(first), np.float32)
  expected = np.clip(np.asarray(expected) * 127.5 + 127.5, 0, 255)
  assert np.abs(images - expected).max() <= 0.501
  assert np.abs(images - tokenizer.decode(last)).max() > 1


def test_what_is_wrong_is_told_at_once():
  sampler = models.sampler()
  with pytest.raises(ValueError, match='labels=10 is out of range'):
    sampler.stream(_KEY, labels=[10])
  with pytest.raises(ValueError, match='first_index=-1 must be a whole'):
    sampler.stream(_KEY, labels=[1], first_index=-1)
  with pytest.raises(ValueError, match='needs image 4294967296 of'):
    sampler.stream(_KEY, labels=[1, 1], first_index=2**32 - 1)


def test_caches_are_handed_on_and_not_copied(monkeypatch):
  advance, given = programs.advance, []

  def noting(*args, **kwargs):
    given.extend(jax.tree.leaves(args[4].caches))
    return advance(*args, **kwargs)

  monkeypatch.setattr(programs, 'advance', noting)
  list(models.sampler().stream(_KEY, labels=_LABELS))
  assert len(given) == 4 and all(cache.is_deleted() for cache in given)
