"""Evaluation of stage 2 against NumPy over the whole split at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.sampling import decode
from rq_jax.training import stage2
from rq_jax.training.stage2 import evaluation
from tests import programs
from tests import tiny

pytestmark = pytest.mark.slow

COUNT = 13  # One batch and five more.
LABELS = np.arange(COUNT) % 10


@functools.cache
def task():
  experiment = tiny.stage2_config(
      loss=dict(stochastic_codes=False, label_dropout=0.5),
      optimizer=dict(ema_decay=0.9),
      train=dict(accumulate=2),
  )
  return tiny.stage2_task(experiment)


@functools.cache
def state():
  """A state whose averages must be used, not its parameters."""
  initial = tiny.initial_state(stage2, task())
  return initial.replace(params=jax.tree.map(jnp.zeros_like, initial.params))


@functools.cache
def features():
  return tiny.untrained_tokenizer().features(tiny.images(COUNT))


def batches():
  for start in range(0, COUNT, tiny.BATCH):
    index = np.arange(start, start + tiny.BATCH)
    rows = np.minimum(index, COUNT - 1)
    yield {
        'features': features()[rows],
        'label': jnp.asarray(LABELS[rows]),
        'valid': jnp.asarray(index < COUNT),
    }


def test_losses_are_exact_although_the_last_batch_is_padded_and_in_pieces():
  program = jax.jit(functools.partial(evaluation.eval_step, task()))
  results = [program(state(), batch) for batch in batches()]
  sums = jax.tree.map(lambda *x: np.sum(np.float64(x), axis=0), *results)
  metrics = evaluation.summarize(task(), sums)

  codes = np.asarray(tiny.untrained_tokenizer().encode(tiny.images(COUNT)))
  logits = np.float64(
      jax.jit(task().model.apply)(
          {'params': state().ema_params},
          codes,
          jnp.asarray(LABELS)[:, None],
          task().codebooks,
      )
  )
  vectors = np.float64(task().tokenizer.make_quantizer().fold(features()))
  words = np.float64(task().codebooks[0])
  log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
  losses = []
  for depth in range(2):
    distances = np.sum((vectors[..., None, :] - words) ** 2, axis=-1)
    weights = np.exp(-(distances - np.min(distances)) / 20.0)
    targets = weights / np.sum(weights, axis=-1, keepdims=True)
    losses.append(-np.mean(np.sum(targets * log_p[..., depth, :], axis=-1)))
    hit = np.argmax(logits[..., depth, :], axis=-1) == codes[..., depth]
    np.testing.assert_allclose(
        metrics[f'accuracy_depth{depth + 1}'], np.mean(hit)
    )
    np.testing.assert_allclose(
        metrics[f'loss_depth{depth + 1}'], losses[depth], rtol=1e-5
    )
    vectors = vectors - words[codes[..., depth]]
  np.testing.assert_allclose(metrics['loss'], np.mean(losses), rtol=1e-5)


@pytest.mark.parametrize('pieces', [1, 2])
def test_logits_are_those_of_a_piece(pieces):
  step = functools.partial(
      evaluation.eval_step, task().replace(accumulate=pieces), state()
  )
  values = programs.values_in(jax.make_jaxpr(step)(next(batches())).jaxpr)
  of_image = (task().model.positions, task().model.depth, tiny.WORDS)
  rows = {v.shape[0] for v in values if v.shape[1:] == of_image}
  assert rows == {tiny.BATCH // pieces}


def test_previews_are_decoded_draws_for_the_labels_of_the_batch(monkeypatch):
  """The draws are replaced by known codes."""
  codes = tiny.untrained_tokenizer().encode(tiny.images())
  asked = []

  def draw_maps(model, weights, request, uniforms):
    asked.append((weights, request, uniforms))
    return codes, None

  monkeypatch.setattr(decode, 'draw_maps', draw_maps)
  batch = next(batches())
  rows = evaluation.preview(task(), state(), batch)
  ((drawn_with, request, uniforms),) = asked
  np.testing.assert_array_equal(
      drawn_with.params['spatial_position'],
      state().ema_params['spatial_position'],
  )
  assert uniforms.shape == (tiny.BATCH, 4, 2)
  np.testing.assert_array_equal(request.condition[:, 0], batch['label'])
  expected = tiny.untrained_tokenizer().decode(codes)
  assert rows['samples'].dtype == np.uint8
  # Two programs may round a value between two numbers differently.
  difference = np.int32(rows['samples'][0]) - np.int32(expected)
  assert np.max(np.abs(difference)) <= 1
