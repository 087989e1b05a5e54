"""What to do after a step that was not finite, from what is known by then.

The state in memory is that before the step. Numbers that are not finite never
become finite again, so if all of its numbers are, those of older checkpoints
are too.
"""

from collections.abc import Sequence
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp

from rq_jax.distributed import partitioning

_SMALLER_STEPS = (
    'Lower --config.optimizer.peak_lr, set --config.optimizer.clip_norm or'
    ' raise --config.optimizer.warmup_steps'
)
_ANEW = 'in another --workdir, or after removing this one'


def failure(
    state: Any,
    *,
    workdir: str | epath.Path,
    saved: Sequence[int],
    init_from: str | None,
    mesh: jax.sharding.Mesh,
) -> FloatingPointError:
  """The error that ends a run, with advice that works.

  Args:
    state: The state in memory, with the `failed_step`.
    workdir: Folder of the run.
    saved: Steps of its checkpoints, in order.
    init_from: The weights that the run started from, if it was given some.
    mesh: Where the state is.
  """
  failed = int(state.failed_step)  # Steps that were taken before.
  what = (
      f'The loss or its gradient at step {failed + 1} was not finite. The step'
      ' was not applied, and no checkpoint has it.'
  )
  if failed == 0:
    advice = _advice_at_once(init_from)
  elif not saved:
    advice = (
        f'There is no checkpoint yet. {_SMALLER_STEPS}, and start anew {_ANEW}.'
    )
  elif saved[-1] < failed and _is_finite(state, mesh):
    advice = (
        f'The newest is of step {saved[-1]}, and a finite step followed it.'
        f' {_SMALLER_STEPS}, in another --workdir with'
        f' --config.init_from={workdir}.'
    )
  else:
    advice = _advice_on_ruins(workdir, saved)
  return FloatingPointError(f'{what} {advice}')


def _advice_at_once(init_from: str | None) -> str:
  """Advice for a first step that fails, before the learning rate matters."""
  if init_from is not None:
    return (
        f'It was computed with the weights of --config.init_from={init_from},'
        f' which may be ruined: choose others, or leave it out, {_ANEW}.'
    )
  return (
      'No parameter had moved by then, so the learning rate is not the cause:'
      ' check the data, --config.loss and --config.model.dtype, and start anew'
      f' {_ANEW}.'
  )


def _advice_on_ruins(workdir: str | epath.Path, saved: Sequence[int]) -> str:
  """Advice where the newest checkpoint would fail again."""
  newest, earlier = saved[-1], saved[:-1]
  advice = (
      f'The newest is of step {newest}, whose weights may be ruined already: do'
      f' not start from them. {_SMALLER_STEPS}, and start anew {_ANEW}'
  )
  if not earlier:
    return f'{advice}.'
  return (
      f'{advice}; or start from step {earlier[-1]}: move'
      f' {epath.Path(workdir) / "checkpoints" / str(newest)} elsewhere, and set'
      f' --config.init_from={workdir} in another --workdir.'
  )


def _is_finite(state: Any, mesh: jax.sharding.Mesh) -> bool:
  """Whether all numbers of a state are; all processes must ask."""

  def all_finite(leaves):
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))

  leaves = jax.tree.leaves(state)
  floats = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]
  replicated = partitioning.replicated(mesh)
  return bool(jax.jit(all_finite, out_shardings=replicated)(floats))
