"""A batch in pieces gives the step of the whole batch, on one device or eight.

The digits in four pieces of 16 against one batch of 64, in both stages.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.training import accumulation
from rq_jax.training import stage1
from rq_jax.training import stage2
from tests import tiny
from tests.training import on_mesh

BATCH, PIECES = 64, 4
# Norm of a difference, in norms of what is compared.
CLOSE = 1e-5
SHARED = dict(data=dict(batch_size=BATCH))
CASES = {
    'reconstruction': (
        stage1,
        dict(loss=dict(reconstruction='l1'), model=dict(restart='off')),
    ),
    'batch': (
        stage1,
        dict(
            loss=dict(
                adversarial_weight=0.5,
                perceptual_weight=100.0,
                perceptual_path='unused',
            )
        ),
    ),
    'act': (
        stage1,
        dict(
            model=dict(shared_codebook=False, codebook_size=(6, tiny.WORDS)),
            loss=dict(adversarial_weight=0.5, discriminator='vanilla'),
            discriminator=dict(norm='act'),
        ),
    ),
    'labels': (
        stage2,
        dict(model=dict(dropout=0.0), loss=dict(label_dropout=0.25)),
    ),
    'text': (
        stage2,
        dict(
            model=dict(
                dropout=0.0,
                num_classes=0,
                null_class=False,
                text_vocab_size=11,
                text_length=3,
            ),
            loss=dict(condition_weight=0.1),
        ),
    ),
}


@functools.cache
def task_of(case, pieces):
  stage, changes = CASES[case]
  changes = tiny.merged(changes, SHARED | dict(train=dict(accumulate=pieces)))
  if stage is stage2:
    return tiny.stage2_task(tiny.stage2_config(**changes)).replace(chunks=2)
  return tiny.stage1_task(
      tiny.stage1_config(**changes), perceptual=tiny.perceptual_stand_in()
  )


@functools.cache
def batch_of(case):
  batch = {'image': np.asarray(tiny.images(BATCH))}
  if case == 'text':
    return batch | {'tokens': np.arange(3 * BATCH).reshape(-1, 3) % 11}
  return batch | {'label': np.arange(BATCH) % 10}


@functools.cache
def step_of(case, pieces, devices=1):
  """The state and the metrics after a step."""
  stage, _ = CASES[case]
  state = tiny.initial_state(stage, task_of(case, 1))
  mesh = partitioning.make_mesh(
      dict(fsdp=devices), devices=jax.devices()[:devices]
  )
  return on_mesh.step(stage, task_of(case, pieces), state, batch_of(case), mesh)


def assert_close(actual, expected):
  """Compares whole trees by the norm of their difference."""
  a, b = (
      np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in leaves])
      for leaves in (jax.tree.leaves(actual), jax.tree.leaves(expected))
  )
  assert np.linalg.norm(b) > 0
  assert np.linalg.norm(a - b) <= CLOSE * np.linalg.norm(b)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('case', 'devices'),
    [*((case, 1) for case in CASES), ('batch', 8), ('labels', 8)],
)
def test_pieces_give_gradients_sums_and_metrics_of_the_batch(case, devices):
  state, metrics = step_of(case, PIECES, devices)
  expected, expected_metrics = step_of(case, 1)
  assert_close(state.opt_state[0], expected.opt_state[0])
  assert metrics.keys() == expected_metrics.keys()
  for name, value in expected_metrics.items():
    np.testing.assert_allclose(metrics[name], value, rtol=2e-5, err_msg=name)
  if CASES[case][0] is stage2:
    return
  for name, book in expected.codebook['quantizer'].items():
    found = state.codebook['quantizer'][name]
    assert_close(found.count, book.count)
    assert_close(found.total, book.total)
    assert_close(found.embedding, book.embedding)
  if case in ('batch', 'act'):
    assert_close(state.disc_opt_state[0], expected.disc_opt_state[0])
    assert_close(state.disc_stats, expected.disc_stats)


def test_pieces_interleave_and_join_again():
  batch = {'x': np.arange(12).reshape(6, 2)}
  pieces = accumulation.split(batch, 3)
  np.testing.assert_array_equal(pieces['x'][1], batch['x'][[1, 4]])
  tiny.assert_trees_equal(accumulation.join(pieces), batch)


@pytest.mark.parametrize(('pieces', 'rows'), [(1, 12), (3, 4)])
def test_sums_are_added_up_piece_by_piece(pieces, rows):
  shapes = []

  def fn(x):
    shapes.append(x.shape)
    return {'sum': jnp.sum(x**2, axis=0), 'count': len(x)}

  x = jnp.arange(24.0).reshape(12, 2)
  found = accumulation.sums(fn, x, pieces)
  np.testing.assert_array_equal(found['sum'], np.sum(np.square(x), axis=0))
  assert found['count'] == 12
  assert set(shapes) == {(rows, 2)}


def test_each_device_splits_its_own_part_of_a_batch():
  mesh = partitioning.make_mesh(dict(data=2, fsdp=4))
  with partitioning.activate(mesh):
    x = partitioning.global_batch({'x': np.arange(32)}, mesh)['x']
    split = jax.jit(lambda x: accumulation.split(x, 2)).lower(x).compile()
  assert not re.search('all-|collective|scatter', split.as_text())
  for before, after in zip(x.addressable_shards, split(x).addressable_shards):
    assert before.device == after.device
    assert set(np.ravel(after.data)) == set(np.ravel(before.data))


def test_gradients_and_metrics_are_means_and_each_piece_has_its_own_key():
  def fn(piece, key):
    grads = {'w': jnp.sum(piece) * jnp.ones(2)}
    return grads, {'loss': jnp.max(piece)}, (piece, jax.random.key_data(key))

  pieces = jnp.arange(6.0).reshape(3, 2)
  grads, metrics, (kept, keys) = accumulation.mean_gradients(
      fn, {'w': jnp.zeros(2)}, pieces, jax.random.key(0)
  )
  np.testing.assert_allclose(grads['w'], [5, 5])  # The mean of 1, 5 and 9.
  np.testing.assert_allclose(metrics['loss'], 3)  # The mean of 1, 3 and 5.
  np.testing.assert_array_equal(kept, pieces)
  assert len({tuple(key) for key in np.asarray(keys)}) == 3
