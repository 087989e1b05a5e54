"""What to do about a run that failed."""

import jax
import jax.numpy as jnp

from rq_jax.typing import PyTree

_MILDER = (
    'a lower --config.optimizer.peak_lr, a --config.optimizer.clip_norm or more'
    ' --config.optimizer.warmup_steps'
)


def not_finite(step: int, saved: int | None, params: PyTree) -> str:
  """Says what to do after a step whose loss or gradient was not finite.

  Args:
    step: Number of that step, from 1; it was not applied.
    saved: The newest checkpoint; None if there is none.
    params: Parameters before the step.
  """
  what = (
      f'The loss or its gradient at step {step} was not finite. The step was'
      ' not applied, and no checkpoint has it'
  )
  if saved is None:
    return (
        f'{what}; none was saved before. Start anew in another --workdir, with'
        f' {_MILDER}.'
    )
  if step == saved + 1 or not _are_finite(params):
    return (
        f'{what}. But the newest, of step {saved}, has weights that are'
        ' probably ruined, as the step after it fails or they are not finite'
        ' themselves: do not start from it. Start anew in another --workdir,'
        f' with {_MILDER}.'
    )
  return (
      f'{what}; the newest is of step {saved}. Start another --workdir from it,'
      f' with --config.init_from set to this one, and with {_MILDER}.'
  )


def _are_finite(tree: PyTree) -> bool:
  finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
  return bool(jnp.all(jnp.stack(finite)))
