"""A step of stage 2, and its loss at all positions at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.training import stage2
from tests import tiny

# Both sides sum thousands of terms in float32, in different orders.
CLOSE = 2e-4
POSITIONS, DEPTH, WORDS = 4, 2, tiny.WORDS

CASES = {
    # Labels are dropped, codes are drawn, targets are soft.
    'labels': dict(
        loss=dict(label_dropout=0.25), optimizer=dict(ema_decay=0.9)
    ),
    # The text is also predicted; codes are nearest, and targets are codes.
    'text': dict(
        model=dict(
            num_classes=0, null_class=False, text_vocab_size=11, text_length=3
        ),
        loss=dict(
            condition_weight=0.1, stochastic_codes=False, soft_targets=False
        ),
    ),
}


@functools.cache
def task_of(case, chunks=1):
  return tiny.stage2_task(tiny.stage2_config(**CASES[case])).replace(
      chunks=chunks
  )


@functools.cache
def features():
  return tiny.untrained_tokenizer().features(tiny.images())


@functools.cache
def batch_of(case, kind='features'):
  given = features() if kind == 'features' else tiny.images()
  if case == 'text':
    tokens = jnp.arange(3 * tiny.BATCH).reshape(-1, 3) % 11
    return {kind: given, 'tokens': tokens}
  # The first eight labels are all different.
  return {kind: given, 'label': jnp.arange(tiny.BATCH)}


@functools.cache
def start(case):
  return tiny.initial_state(stage2, task_of(case))


@functools.cache
def stepper(case, chunks=1):
  return jax.jit(functools.partial(stage2.train_step, task_of(case, chunks)))


@functools.cache
def step_of(case, kind='features', chunks=1):
  return stepper(case, chunks)(start(case), batch_of(case, kind))


def keys_of(state):
  """Keys of a step: for the codes and for dropout."""
  key = jax.random.fold_in(state.rng, state.step)
  return jax.random.split(key, 3)[:2]


def dropped(grads):
  """Which of the eight labels a step dropped: their rows have no gradient."""
  rows = np.asarray(grads['condition_embedding'])
  return ~np.any(rows[: tiny.BATCH], axis=1)


def naive_loss(task, params, codes, condition, key):
  """The loss of given codes, with targets of all positions at once."""
  words = task.codebooks[0]
  vectors = task.tokenizer.make_quantizer().fold(features())
  before = jnp.cumsum(words[codes], axis=-2) - words[codes]
  residuals = vectors[..., None, :] - before  # [B, H, W, D, C]
  differences = residuals[..., None, :] - words.reshape(
      1, 1, 1, 1, *words.shape
  )
  distances = jnp.sum(differences**2, axis=-1)
  targets = jax.nn.softmax(-distances / task.loss['temperature'])
  if not task.loss['soft_targets']:
    targets = jax.nn.one_hot(codes, WORDS)
  apply = functools.partial(task.model.apply, {'params': params})
  forward = functools.partial(
      apply, codes, condition, task.codebooks, train=True, rngs={'dropout': key}
  )
  logits = forward()
  loss = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
  by_depth = jnp.mean(loss, axis=(0, 1, 2))
  if not task.loss['condition_weight']:
    return jnp.mean(loss), (by_depth, None)
  _, spatial = forward(method='hidden')
  text = jax.nn.log_softmax(apply(spatial, method='condition_logits'))
  known = jax.nn.one_hot(condition[:, 1:], 11)
  text_loss = -jnp.mean(jnp.sum(known * text, axis=-1))
  return 0.9 * jnp.mean(loss) + 0.1 * text_loss, (by_depth, text_loss)


@functools.cache
def naive(case):
  """((loss, parts), gradients) of the first step."""
  task, state = task_of(case), start(case)
  (grads, _), batch = step_of(case)[0].opt_state, batch_of(case)
  condition = (
      batch['tokens']
      if case == 'text'
      else jnp.where(dropped(grads), 10, batch['label'])[:, None]
  )
  key_codes, key_dropout = keys_of(state)
  codes, _ = tiny.draw_codes(task, batch, key_codes)
  codes = codes.reshape(tiny.BATCH, *tiny.CODE_SHAPE)
  loss = functools.partial(naive_loss, task)
  return jax.jit(jax.value_and_grad(loss, has_aux=True))(
      state.params, codes, condition, key_dropout
  )
