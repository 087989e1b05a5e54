"""Compares a generator in bfloat16 with the same generator in float32."""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import config as config_lib
from rq_jax.distributed import progress
from rq_jax.models import categorical
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
  """Differences between a generator in bfloat16 and in float32.

  All arrays are means over the codes of a depth, in code maps that the float32
  model drew.

  Attributes:
    divergence: Kullback-Leibler divergence of the bfloat16 distribution of a
      code from the float32 one, in nats, float64[D].
    greedy_changed: Share of codes for which the most likely code differs, given
      the same earlier codes, float64[D].
    drawn_changed: Share of codes for which the same random number draws another
      code, given the same earlier codes, float64[D].
    pixels: Mean absolute difference of decoded pixels, on a scale of 0 to 255.
  """

  divergence: np.ndarray
  greedy_changed: np.ndarray
  drawn_changed: np.ndarray
  pixels: float


def compare(
    restore: Callable[[str], Sampler],
    *,
    num_images: int,
    seed: int = 0,
    chunk_size: int = 16,
) -> Precision:
  """Draws code maps in float32 and predicts them with both models.

  Args:
    restore: Returns the sampler in a dtype, 'float32' or 'bfloat16'.
    num_images: Number of images, rounded up to whole chunks. Labels are used in
      turn.
    seed: Seed of the draws, in [0, 2**32).
    chunk_size: Number of images computed at a time.

  Raises:
    ValueError: If the seed is out of range.
  """
  config_lib.check_seed(seed)
  full, half = restore('float32'), restore('bfloat16')
  key = jax.random.key(seed)
  by_depth, pixels = [], []  # Means of each chunk.
  firsts = range(0, num_images, chunk_size)
  for first in progress.bar(iterable=firsts, unit='chunk', desc='compare'):
    asked = _asked(full.prior, first, chunk_size)
    codes = full.codes(key, first_index=first, sampling=Sampling(), **asked)
    if 'num_images' in asked:
      asked = {}
    differences = _differences(
        full.logits(codes, **asked),
        half.logits(codes, **asked),
        jax.random.fold_in(jax.random.key(seed), first),
    )
    by_depth.append([np.asarray(x, np.float64) for x in differences])
    images = [np.asarray(s.tokenizer.decode(codes), int) for s in (full, half)]
    pixels.append(np.abs(images[0] - images[1]).mean())
  divergence, greedy, drawn = np.mean(by_depth, axis=0)
  return Precision(
      divergence=divergence,
      greedy_changed=greedy,
      drawn_changed=drawn,
      pixels=float(sum(pixels) / len(pixels)),
  )


def _asked(prior, first: int, count: int) -> dict:
  """Conditions of `count` images: labels in turn, or consecutive token ids."""
  if prior.num_classes:
    return {'labels': (first + np.arange(count)) % prior.num_classes}
  if prior.text_vocab_size:
    ids = np.arange(
        first * prior.text_length, (first + count) * prior.text_length
    )
    return {'tokens': ids.reshape(count, -1) % prior.text_vocab_size}
  return {'num_images': count}


@jax.jit
def differences(
    exact: jax.Array, rounded: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Mean differences by depth of two arrays of logits, [B, H, W, D, K].

  Returns:
    The divergence KL(exact || rounded) of the distributions of a code, in nats,
    and the share of codes for which the most likely code differs, float32[D].
  """
  log_p, log_q = (jax.nn.log_softmax(x, axis=-1) for x in (exact, rounded))
  change = log_q - log_p
  # The mean of expm1(change) is 0. With it, no term is negative, so that
  # rounding does not hide tiny divergences.
  terms = jnp.exp(log_p) * (jnp.expm1(change) - change)
  divergence = jnp.sum(terms, axis=-1)
  greedy = _most_likely(exact) != _most_likely(rounded)
  return _by_depth(divergence), _by_depth(greedy)


@jax.jit
def _differences(full: jax.Array, half: jax.Array, key: jax.Array):
  """The same, and the share of codes for which another code is drawn."""
  uniforms = jax.random.uniform(key, full.shape[:-1], jnp.float32)
  drawn = categorical.draw(full, uniforms) != categorical.draw(half, uniforms)
  return *differences(full, half), _by_depth(drawn)


def _by_depth(x: jax.Array) -> jax.Array:
  return jnp.mean(x, axis=(0, 1, 2))


def _most_likely(logits: jax.Array) -> jax.Array:
  return jax.lax.argmax(logits, logits.ndim - 1, jnp.int32)


def table(found: Precision) -> str:
  """The differences as a table in Markdown."""
  depths = range(1, len(found.divergence) + 1)
  rows = [
      '| | ' + ' | '.join(f'depth {d}' for d in depths) + ' |',
      '|---|' + '---|' * len(depths),
  ]
  for name, values in (
      ('KL divergence, nats', found.divergence),
      ('most likely code changed, %', 100 * found.greedy_changed),
      ('drawn code changed, %', 100 * found.drawn_changed),
  ):
    rows.append(f'| {name} | ' + ' | '.join(f'{v:.3g}' for v in values) + ' |')
  rows.append(f'\nDecoded pixels differ by {found.pixels:.3g} of 255 levels.')
  return '\n'.join(rows)
