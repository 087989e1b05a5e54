"""Options of XLA that make some programs faster on a platform."""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import core
import jax.numpy as jnp

from rq_jax.distributed import console

Options = dict[str, Any]

# What XLA leaves to the library YNNPACK on CPUs; by default, products, sums and
# convolutions.
_YNNPACK = 'xla_cpu_experimental_ynn_fusion_type'
_PRODUCTS, _SUMS = (
    f'LIBRARY_FUSION_TYPE_{name}' for name in ('INDIVIDUAL_DOT', 'REDUCE')
)
# What the errors of XLA say if it lacks an option, or the value of one.
_LACKING = ('No such compile option', 'is not a valid enum value')


@functools.cache
def convolutions(platform: str) -> Options:
  """Options for programs with convolutions on a platform, such as 'cpu'."""
  # YNNPACK takes two to five times as long as Eigen for gradients of kernels,
  # and for 1x1 kernels. For large products, the two are about as fast. Without
  # YNNPACK, sums over rows would take ten times as long.
  by_eigen: Options = {_YNNPACK: f'{_PRODUCTS},{_SUMS}'}
  return _known(by_eigen) if platform == 'cpu' else {}


@functools.cache
def few_rows(platform: str) -> Options:
  """Options for programs with products of few rows on a platform."""
  # By default, XLA splits the sum of a product of few rows over up to 16
  # kernels, and the next kernel reads and adds their results in float32. At 64
  # rows, these take as much memory traffic as the weights.
  unsplit: Options = {'xla_gpu_experimental_force_split_k': 1}
  # YNNPACK multiplies few rows faster than Eigen, but starts too slowly for the
  # small sums of norms.
  products_only: Options = {_YNNPACK: _PRODUCTS}
  return _known({'gpu': unsplit, 'cpu': products_only}.get(platform, {}))


@functools.cache
def run_once(platform: str) -> Options:
  """Options for programs that run once on a platform."""
  # Compiling such a program takes longer than running it. LLVM compiles the
  # initial values of a model in half the time at level 1, to the same bits; at
  # level 0, the bits differ.
  little: Options = {'xla_backend_optimization_level': 1}
  return _known(little) if platform == 'cpu' else {}


def _known(options: Options) -> Options:
  """The options if this version of XLA has them; none if it lacks one."""
  try:
    jax.jit(lambda: 0, compiler_options=options).lower().compile()
  except jax.errors.JaxRuntimeError as error:
    if not any(text in str(error) for text in _LACKING):
      raise
    _warn_of(', '.join(options))
    return {}
  return options


@functools.cache  # Several kinds of programs may have the same option.
def _warn_of(names: str) -> None:
  console.warn(
      f'This version of XLA does not support {names}, which rq_jax sets to make'
      ' programs faster. They run without it.'
  )


class Jitted:
  """A compiled function, with the options of XLA for the default platform.

  A function that JAX transforms or compiles may call it, too. It is then a part
  of that program, whose options hold.

  Attributes:
    on: Function from a platform, such as 'gpu', to the function compiled for
      its devices.
  """

  def __init__(
      self,
      function: Callable,
      options: Callable[[str], Options],
      **arguments: Any,
  ):
    """Compiles nothing yet.

    Args:
      function: The function.
      options: One of the functions of this module.
      **arguments: Further arguments of `jax.jit`.
    """
    self._inside = jax.jit(function, **arguments)

    @functools.cache
    def on(platform: str) -> jax.stages.Wrapped:
      chosen = options(platform)
      return jax.jit(function, compiler_options=chosen, **arguments)

    self.on = on

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """Calls the function."""
    # JAX accepts options only for whole programs, not inside a function that it
    # traces. There, the arguments may be constants, but a new array is traced.
    # JAX has no public function that reports a trace.
    leaves = jax.tree.leaves((args, kwargs))
    if any(map(_traced, [jnp.zeros(()), *leaves])):
      return self._inside(*args, **kwargs)
    return self.on(jax.default_backend())(*args, **kwargs)


def _traced(x: Any) -> bool:
  return isinstance(x, core.Tracer)
