"""Stage 2 against losses on logits and soft targets of whole code maps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.training import stage2
from tests import programs
from tests import tiny
from tests.training.stage2 import steps

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('case', steps.CASES)
def test_loss_and_gradients_are_those_of_all_positions_at_once(case):
  state, metrics = steps.step_of(case)
  (loss, (by_depth, text_loss)), grads = steps.naive(case)
  np.testing.assert_allclose(metrics['loss'], loss, rtol=1e-5)
  for depth in range(steps.DEPTH):
    np.testing.assert_allclose(
        metrics[f'loss_depth{depth + 1}'], by_depth[depth], rtol=1e-5
    )
  if case == 'text':
    np.testing.assert_allclose(metrics['loss_condition'], text_loss, rtol=1e-5)
  else:
    np.testing.assert_allclose(loss, np.mean(by_depth), rtol=1e-5)
    assert 'loss_condition' not in metrics
  tiny.assert_trees_close(state.opt_state[0], grads, steps.CLOSE)
  norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
  np.testing.assert_allclose(metrics['gradient_norm'], norm, rtol=1e-4)
  np.testing.assert_allclose(metrics['learning_rate'], 1e-3, rtol=1e-6)


@pytest.mark.parametrize(
    ['kind', 'chunks'], [('image', 1), ('features', steps.POSITIONS)]
)
def test_neither_chunks_nor_a_cache_of_features_change_a_step(kind, chunks):
  expected, expected_metrics = steps.step_of('labels')
  state, metrics = steps.step_of('labels', kind, chunks)
  np.testing.assert_allclose(
      metrics['loss'], expected_metrics['loss'], rtol=1e-5
  )
  tiny.assert_trees_close(
      state.opt_state[0], expected.opt_state[0], steps.CLOSE
  )


def test_logits_of_all_positions_never_exist_at_once():
  # So many rows that their logits are larger than all parameters.
  batch = {'features': jnp.zeros((64, 8, 8, 4)), 'label': jnp.zeros(64, int)}
  whole = (64, steps.POSITIONS, steps.DEPTH, steps.WORDS)

  def shapes(chunks):
    step = functools.partial(stage2.train_step, steps.task_of('labels', chunks))
    jaxpr = jax.make_jaxpr(step)(steps.start('labels'), batch).jaxpr
    return {value.shape for value in programs.values_in(jaxpr)}

  def as_large(shapes):
    return {
        s for s in shapes if steps.WORDS in s and np.prod(s) >= np.prod(whole)
    }

  assert whole in as_large(shapes(1))
  assert not as_large(shapes(steps.POSITIONS))
  assert (64, 1, steps.DEPTH, steps.WORDS) in shapes(steps.POSITIONS)


@functools.cache
def drawer(case):
  return jax.jit(functools.partial(tiny.draw_codes, steps.task_of(case)))


def test_codes_are_drawn_anew_in_every_step_and_alike_in_the_same():
  batch, state = steps.batch_of('labels'), steps.start('labels')
  draw = drawer('labels')
  first, second = (
      draw(batch, steps.keys_of(state.replace(step=jnp.int32(step)))[0])[0]
      for step in range(2)
  )
  assert np.mean(first != second) > 0.1
  again, metrics = steps.stepper('labels')(steps.start('labels'), batch)
  tiny.assert_trees_equal(again, steps.step_of('labels')[0])
  _, other = steps.stepper('labels')(state.replace(step=jnp.int32(1)), batch)
  assert other['loss'] != metrics['loss']


def test_codes_follow_the_softmax_of_the_negative_distances():
  """The first codes, and the second codes after the most frequent first one."""
  vector = np.asarray(steps.features()[:1], np.float64)
  repeated = jnp.tile(steps.features()[:1], (4096, 1, 1, 1))
  codes, residuals = drawer('labels')({'features': repeated}, jax.random.key(3))
  codes = np.asarray(codes)
  words = np.asarray(steps.task_of('labels').codebooks[0], np.float64)
  # The first patch of features is its upper left quarter.
  residual = vector[0, :4, :4].ravel()
  drawn = codes[:, 0]
  for depth in range(steps.DEPTH):
    weights = np.exp(-np.sum((residual - words) ** 2, axis=1) / 20.0)
    shares = np.bincount(drawn[:, depth], minlength=steps.WORDS) / len(drawn)
    # Five standard deviations of a share of n draws.
    bound = 5 * np.sqrt(0.25 / len(drawn))
    expected = weights / np.sum(weights)
    assert np.max(expected) < 0.95
    np.testing.assert_allclose(shares, expected, atol=bound)
    frequent = np.argmax(shares)
    drawn = drawn[drawn[:, depth] == frequent]
    residual = residual - words[frequent]
  np.testing.assert_allclose(
      residuals[:, 0, 1],
      vector[0, :4, :4].ravel() - words[codes[:, 0, 0]],
      atol=1e-5,
  )


def test_codes_are_the_nearest_unless_they_are_to_be_stochastic():
  codes, _ = drawer('text')(steps.batch_of('text'), jax.random.key(0))
  expected = tiny.untrained_tokenizer().encode(tiny.images())
  np.testing.assert_array_equal(
      codes.reshape(tiny.BATCH, *tiny.CODE_SHAPE), expected
  )


def test_labels_give_way_to_the_null_class_at_the_rate_that_was_set():
  counts = []
  for step in range(40):
    state = steps.start('labels').replace(step=jnp.int32(step))
    new, _ = steps.stepper('labels')(state, steps.batch_of('labels'))
    grads, _ = new.opt_state
    rows = np.any(np.asarray(grads['condition_embedding']), axis=1)
    assert rows[10] == np.any(steps.dropped(grads))
    assert not np.any(rows[tiny.BATCH : 10])
    counts.append(np.sum(steps.dropped(grads)))
  draws = 40 * tiny.BATCH
  # Four standard deviations of a binomial share.
  bound = 4 * np.sqrt(0.25 * 0.75 / draws)
  np.testing.assert_allclose(np.sum(counts) / draws, 0.25, atol=bound)
  assert len(set(counts)) > 2


def test_averaged_parameters_follow_the_parameters():
  state, _ = steps.step_of('labels')
  assert tiny.all_differ(state.params, steps.start('labels').params)
  expected = jax.tree.map(
      lambda a, p: 0.1 * a + 0.9 * p, steps.start('labels').params, state.params
  )
  tiny.assert_trees_close(state.ema_params, expected, 1e-6)
  assert stage2.inference_variables(state)['params'] is state.ema_params
  without, _ = steps.step_of('text')
  assert without.ema_params is None
  assert stage2.inference_variables(without)['params'] is without.params
  assert without.step == 1


def test_a_step_that_is_not_finite_is_not_applied():
  batch = steps.batch_of('labels')
  broken = batch | {'features': steps.features().at[0, 0, 0, 0].set(jnp.inf)}
  state, _ = steps.stepper('labels')(steps.start('labels'), broken)
  assert state.failed_step == 0
  tiny.assert_trees_equal(
      state.replace(failed_step=jnp.int32(-1)), steps.start('labels')
  )


def test_the_condition_is_the_label_the_text_or_nothing():
  for case, name in (('labels', 'label'), ('text', 'tokens')):
    condition = stage2.condition_of(steps.task_of(case), steps.batch_of(case))
    np.testing.assert_array_equal(
        condition, steps.batch_of(case)[name].reshape(tiny.BATCH, -1)
    )
  free = tiny.stage2_task(
      tiny.stage2_config(model=dict(num_classes=0, null_class=False))
  )
  for kind in ('features', 'image'):
    condition = stage2.condition_of(free, steps.batch_of('labels', kind))
    np.testing.assert_array_equal(condition, np.zeros((tiny.BATCH, 1)))


def test_the_loss_is_cut_into_chunks_when_logits_are_large():
  experiment = tiny.stage2_config(data=dict(batch_size=2**20))
  # 4 bytes x 2**20 x 4 x 2 x 12 = 384 MiB; at most 256 MiB may exist.
  assert tiny.stage2_task(experiment).chunks == 2
  assert steps.task_of('labels').chunks == 1


@pytest.mark.parametrize(
    ['name', 'value'],
    [('code_shape', (4, 4, 2)), ('codebook_size', 16), ('embed_dim', 4)],
)
def test_a_tokenizer_with_other_codes_is_refused(name, value):
  experiment = tiny.stage2_config(model={name: value})
  with pytest.raises(ValueError, match=f'config.model.{name}=.* tokenizer has'):
    tiny.stage2_task(experiment)
