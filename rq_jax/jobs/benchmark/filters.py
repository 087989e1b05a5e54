"""Times top-k and top-p against sorting, and compares their draws."""

from collections.abc import Callable
import dataclasses
import functools
import statistics

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.jobs import timing
from rq_jax.models import categorical
from rq_jax.sampling import filtering

TOP_P, TOP_K = 0.92, 2048
_CALLS = 50  # Number of calls in each repeat, one after the other.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
  """The times of a filter by threshold search and by sorting.

  Attributes:
    name: Name of the filter.
    seconds: Seconds of a call, by search and by sorting.
    cpu_seconds: CPU seconds of a call over all threads, by search and by
      sorting.
    equal: Share of draws that give the same code with both.
  """

  name: str
  seconds: tuple[float, float]
  cpu_seconds: tuple[float, float]
  equal: float

  @property
  def ratio(self) -> float:
    """CPU seconds of sorting, divided by those of the search."""
    return self.cpu_seconds[1] / self.cpu_seconds[0]


def run(codebook_size: int, batch: int, repeats: int) -> list[Filter]:
  """Times top-p and top-k on random logits, float32[batch, codebook_size].

  Search and sort are timed alternately, so that other load on the machine
  affects both.
  """
  shape = (batch, codebook_size)
  logits = 1.5 * jax.random.normal(jax.random.key(0), shape, jnp.float32)
  top_k = min(TOP_K, codebook_size // 2)
  pairs = {
      f'top_p {TOP_P}': (
          functools.partial(filtering.keep_top_p, p=TOP_P),
          functools.partial(_sorted_top_p, p=TOP_P),
      ),
      f'top_k {top_k}': (
          functools.partial(filtering.keep_top_k, k=top_k),
          functools.partial(_sorted_top_k, k=top_k),
      ),
  }
  return [
      _compare(name, *pair, logits, repeats) for name, pair in pairs.items()
  ]


def table(found: list[Filter], batch: int) -> str:
  """The times as a table in Markdown."""
  rows = [
      f'Filters of {batch} rows of logits, ms per call; CPU: all threads.',
      '',
      '| | search | sort | search, CPU | sort, CPU | ratio | equal draws |',
      '|---|---|---|---|---|---|---|',
  ]
  for one in found:
    times = ' | '.join(f'{1e3 * s:.3f}' for s in one.seconds + one.cpu_seconds)
    rows.append(f'| {one.name} | {times} | {one.ratio:.1f} | {one.equal:.2%} |')
  return '\n'.join(rows)


def _compare(
    name: str, search: Callable, sort: Callable, logits, repeats: int
) -> Filter:
  programs = [jax.jit(search), jax.jit(sort)]
  times = [[], []]
  for _ in range(repeats):
    for program, found in zip(programs, times):
      found.append(timing.measure(lambda p=program: _calls(p, logits), 1))
  seconds, cpu_seconds = (
      tuple(
          statistics.median(getattr(t, which) for t in found) / _CALLS
          for found in times
      )
      for which in ('median', 'cpu_median')
  )
  uniforms = jax.random.uniform(
      jax.random.key(1), (256, len(logits)), jnp.float32
  )
  draw = jax.jit(jax.vmap(categorical.draw, in_axes=(None, 0)))
  first, second = (draw(p(logits), uniforms) for p in programs)
  return Filter(
      name=name,
      seconds=seconds,
      cpu_seconds=cpu_seconds,
      equal=float(np.mean(np.asarray(first) == np.asarray(second))),
  )


def _calls(program: Callable, logits: jax.Array) -> list[jax.Array]:
  return [program(logits) for _ in range(_CALLS)]


def _sorted_top_p(logits: jax.Array, p: float) -> jax.Array:
  """The result of `filtering.keep_top_p`, by sorting."""
  ordered = jnp.flip(jnp.sort(logits, axis=-1), axis=-1)
  reached = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) >= p
  last = jax.lax.argmax(reached, 1, jnp.int32)[:, None]
  edge = jnp.take_along_axis(ordered, last, axis=-1)
  return jnp.where(logits >= edge, logits, -jnp.inf)


def _sorted_top_k(logits: jax.Array, k: int) -> jax.Array:
  """The result of `filtering.keep_top_k`, by sorting."""
  edge = jnp.sort(logits, axis=-1)[:, -k][:, None]
  return jnp.where(logits >= edge, logits, -jnp.inf)
