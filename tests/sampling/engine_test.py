"""Drawing on a mesh: batches that do not divide, caches and weights split."""

import functools

import jax
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling.options import Sampling
from tests.sampling import models

_KEY = jax.random.key(1)
_LABELS = [3, 7, 3, 0, 9]
# The last has more devices for heads than there are heads.
_MESHES = (
    dict(data=2, fsdp=2, model=2),
    dict(data=8),
    dict(fsdp=2, model=4),
)


@functools.cache
def _mesh(i):
  return partitioning.make_mesh(_MESHES[i])


@functools.cache
def _alone(sampling=None):
  return np.asarray(
      models.sampler().codes(_KEY, labels=_LABELS, sampling=sampling)
  )


@pytest.mark.slow
@pytest.mark.parametrize('mesh', range(3))
def test_a_batch_that_does_not_divide_is_that_of_one_device(mesh):
  spread = models.on_mesh(_mesh(mesh))
  codes = spread.codes(_KEY, labels=_LABELS)
  np.testing.assert_array_equal(codes, _alone())
  images = np.asarray(spread.tokenizer.decode(codes), np.int32)
  alone = models.random_tokenizer().decode(_alone())
  # A pixel may be rounded to the next level.
  assert np.abs(images - np.asarray(alone, np.int32)).max() <= 1
  assert images.shape == (5, 16, 16, 3)


def test_a_batch_is_filled_up_with_its_last_image_and_split(monkeypatch):
  spread, requested = models.on_mesh(_mesh(0)), []

  def draw_maps(prior, weights, request, uniforms, *, mesh):
    requested.append((request, uniforms))
    return request.given, None

  monkeypatch.setattr(programs, 'draw_maps', draw_maps)
  drawn = spread.codes(_KEY, labels=_LABELS, first_index=3)
  assert len(drawn) == 5
  ((request, uniforms),) = requested
  np.testing.assert_array_equal(
      request.condition[:, 0], [*_LABELS, *_LABELS[-1:] * 3]
  )
  indices = np.array([3, 4, 5, 6, 7, 7, 7, 7])
  np.testing.assert_array_equal(request.indices, indices)
  np.testing.assert_array_equal(
      uniforms, requests.uniforms(_KEY, indices, 4, 2)
  )
  batch = partitioning.batch_sharding(_mesh(0))
  by_image = (request.condition, request.indices, request.given, request.keep)
  for leaf in (*by_image, uniforms):
    assert leaf.sharding.is_equivalent_to(batch, leaf.ndim)
  # What holds for all images is not split.
  assert not isinstance(request.guidance, jax.Array)


def test_guided_pairs_are_split_over_devices_together():
  guided = Sampling(guidance=3.0)
  spread = models.on_mesh(_mesh(0))
  codes = spread.codes(_KEY, labels=_LABELS, sampling=guided)
  np.testing.assert_array_equal(codes, _alone(guided))
  assert not np.array_equal(codes, _alone())


def test_known_codes_of_a_batch_that_does_not_divide_are_kept():
  codes = np.random.default_rng(0).integers(12, size=(5, 2, 2, 2))
  keep = np.random.default_rng(1).random((5, 2, 2)) < 0.5
  spread = models.on_mesh(_mesh(0))
  completed = spread.complete(_KEY, codes, keep, labels=_LABELS)
  np.testing.assert_array_equal(
      completed,
      models.sampler().complete(_KEY, codes, keep, labels=_LABELS),
  )
  np.testing.assert_array_equal(np.asarray(completed)[keep], codes[keep])


@pytest.mark.slow
def test_edits_selections_and_likelihoods_are_those_of_one_device():
  spread, alone = models.on_mesh(_mesh(0)), models.sampler()
  images = np.asarray(alone(_KEY, labels=_LABELS))
  redraw = np.zeros((16, 16), bool)
  redraw[:, :8] = True

  def edit(sampler):
    edited = sampler.edit(jax.random.key(2), images, redraw, labels=_LABELS)
    return edited.astype(np.int32)

  assert np.abs(edit(spread) - edit(alone)).max() <= 1

  def best(sampler):
    return sampler.best_of(
        _KEY, 2, lambda x: np.asarray(x).mean((1, 2, 3)), labels=_LABELS
    )

  np.testing.assert_array_equal(best(spread).indices, best(alone).indices)
  np.testing.assert_array_equal(best(spread).codes, best(alone).codes)
  np.testing.assert_allclose(
      spread.log_prob(_alone(), labels=_LABELS).nats,
      alone.log_prob(_alone(), labels=_LABELS).nats,
      rtol=1e-5,
  )


@pytest.mark.parametrize('mesh', range(3))
def test_weights_of_the_loop_are_split_as_the_parameters_are(mesh):
  spread = models.on_mesh(_mesh(mesh))
  prepared = spread.engine.weights
  params = spread.prior_variables['params']
  split = 0
  for name in ('spatial', 'depth'):
    stacked = params[f'{name}_stack']['layers']
    (block,) = getattr(prepared, f'{name}_blocks')
    for path, p in jax.tree_util.tree_leaves_with_path(stacked):
      leaf = functools.reduce(lambda tree, k: tree[k.key], path, block)
      leaf = models.as_trained(path, leaf)
      np.testing.assert_array_equal(leaf, p[0])
      expected = p.sharding.shard_shape(p.shape)[1:]
      assert leaf.sharding.shard_shape(leaf.shape) == expected, path
      split += not leaf.is_fully_replicated
  kernel = params['classifier']['kernel']
  prepared_kernel = prepared.params['classifier']['kernel'].values
  assert (
      prepared_kernel.sharding.shard_shape(prepared_kernel.shape)
      == kernel.sharding.shard_shape(kernel.shape)[::-1]
  )
  assert split or _MESHES[mesh] == dict(data=8)
