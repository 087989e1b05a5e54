"""Advice for a run that ended because a step was not finite.

The state in memory is the one before that step. Numbers that are not finite
never become finite again. So if all numbers of this state are finite, those of
older checkpoints are finite too.
"""

from collections.abc import Sequence
import contextlib
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp

from rq_jax import files
from rq_jax.distributed import partitioning

_SMALLER_STEPS = (
    'Lower --config.optimizer.peak_lr, set --config.optimizer.clip_norm or'
    ' raise --config.optimizer.warmup_steps'
)
_ANEW = 'in another --workdir, or after removing this one'
_SHOWN = 8  # Examples in the error; all others are in a file.
_FILE = 'failed_batch.json'


def failure(
    state: Any,
    *,
    workdir: epath.PathLike,
    saved: Sequence[int],
    init_from: str | None,
    mesh: jax.sharding.Mesh,
    examples: Sequence[int],
    skipped: int = 0,
) -> FloatingPointError:
  """Returns the error that ends a run, with advice that fits its state.

  Args:
    state: The state in memory, with the `failed_step`.
    workdir: Folder of the run.
    saved: Steps of the run's checkpoints, in order.
    init_from: Path of the weights that the run started from; None for none.
    mesh: Mesh of the devices that hold the state.
    examples: Indices of the examples in the batch of the failed step.
    skipped: Number of steps in a row before the failed one that were not finite
      either, and were skipped.
  """
  failed = int(state.failed_step)  # The number of steps before it.
  what = (
      f'The loss or its gradient at step {failed + 1} was not finite. The step'
      ' was not applied, and no checkpoint contains it.'
  )
  if skipped:
    what = (
        f'The loss or its gradient was not finite in {skipped + 1} steps in a'
        f' row, up to step {failed + 1}. None of these steps was applied. To'
        ' skip more, raise --config.train.max_skipped.'
    )
  what = f'{what} {_batch(examples, failed + 1, workdir)}'
  failed -= skipped  # Now the number of steps before the first failure.
  if failed == 0:
    advice = _advice_at_once(init_from)
  elif not saved:
    advice = (
        f'There is no checkpoint yet. {_SMALLER_STEPS}, and start again'
        f' {_ANEW}.'
    )
  elif saved[-1] < failed and _is_finite(state, mesh):
    advice = (
        f'The newest checkpoint is of step {saved[-1]}, and a finite step'
        f' followed it. {_SMALLER_STEPS}, and start in another --workdir with'
        f' --config.init_from={workdir}.'
    )
  else:
    advice = _advice_on_ruins(workdir, saved)
  return FloatingPointError(f'{what} {advice}')


def _batch(examples: Sequence[int], step: int, workdir: epath.PathLike) -> str:
  """A sentence about the examples of a batch; writes long lists to a file."""
  shown = ', '.join(map(str, examples[:_SHOWN]))
  text = f'Its examples have the indices {shown}'
  if len(examples) <= _SHOWN:
    return f'{text} in the training split.'
  file = epath.Path(workdir) / _FILE
  if jax.process_index() == 0:
    with contextlib.suppress(OSError):
      files.write_json(file, {'step': step, 'examples': list(examples)})
  more = len(examples) - _SHOWN
  return f'{text} and {more} more in the training split: see {file}.'


def _advice_at_once(init_from: str | None) -> str:
  """Advice for a first step that fails, before the learning rate matters."""
  if init_from is not None:
    return (
        f'It was computed with the weights of --config.init_from={init_from},'
        ' which may be the cause. Choose other weights or leave the flag out,'
        f' and start again {_ANEW}.'
    )
  return (
      'No parameter had moved yet, so the learning rate is not the cause.'
      ' Check the data, --config.loss and --config.model.dtype, and start again'
      f' {_ANEW}.'
  )


def _advice_on_ruins(workdir: epath.PathLike, saved: Sequence[int]) -> str:
  """Advice if the newest checkpoint may fail again."""
  newest, earlier = saved[-1], saved[:-1]
  advice = (
      f'The newest checkpoint is of step {newest}. Its weights may cause the'
      f' failure again, so do not start from them. {_SMALLER_STEPS}, and start'
      f' again {_ANEW}.'
  )
  if not earlier:
    return advice
  return (
      f'{advice} Or start from step {earlier[-1]}: move'
      f' {epath.Path(workdir) / "checkpoints" / str(newest)} elsewhere, and set'
      f' --config.init_from={workdir} in another --workdir.'
  )


def _is_finite(state: Any, mesh: jax.sharding.Mesh) -> bool:
  """Whether all numbers of a state are finite; all processes must call it."""

  def all_finite(leaves):
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))

  leaves = jax.tree.leaves(state)
  floats = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]
  replicated = partitioning.replicated(mesh)
  return bool(jax.jit(all_finite, out_shardings=replicated)(floats))
