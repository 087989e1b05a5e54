"""The compiled programs that draw code maps."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax

from rq_jax.sampling import decode


class Programs(NamedTuple):
  """Functions of `decode`, compiled for a platform.

  Attributes:
    draw_maps: See `decode.draw_maps`.
    start: See `decode.start`.
    advance: See `decode.advance`; takes over the memory of `progress`.
  """

  draw_maps: Callable
  start: Callable
  advance: Callable


@functools.cache
def of(platform: str) -> Programs:
  """The programs for a platform, such as 'gpu'."""
  jit = functools.partial(
      jax.jit, static_argnums=0, compiler_options=options(platform)
  )
  return Programs(
      draw_maps=jit(decode.draw_maps, static_argnames=('mesh', 'keep_logits')),
      start=jit(decode.start, static_argnames=('guided', 'mesh')),
      advance=jit(
          decode.advance,
          static_argnames='positions',
          donate_argnames='progress',
      ),
  )


@functools.cache
def options(platform: str) -> dict[str, int]:
  """Options of XLA for these programs on a platform, such as 'gpu'."""
  # By default, XLA splits the sum of a product of few rows over up to 16
  # kernels, and the next kernel reads and adds their results in float32. At 64
  # rows, these take as much memory traffic as the weights.
  unsplit = {'xla_gpu_experimental_force_split_k': 1}
  return unsplit if platform == 'gpu' and _known(unsplit) else {}


def _known(options: dict[str, int]) -> bool:
  """Whether this version of XLA has these options."""
  try:
    jax.jit(lambda: 0, compiler_options=options).lower().compile()
  except jax.errors.JaxRuntimeError:
    return False
  return True
