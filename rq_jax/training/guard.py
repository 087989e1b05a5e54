"""Keeps steps that went wrong from ever being applied."""

from typing import Any

import jax
import jax.numpy as jnp

# What `State.failed_step` holds while all is well.
NO_STEP = -1


def keep_if_not_finite(old: Any, new: Any, *values: jax.Array) -> Any:
  """Returns the new state, or the old one if a value is not finite.

  The first step that fails records itself in `failed_step`, and no later step
  is applied either: the host, which looks only now and then, finds the state
  as it was before that step.

  Args:
    old: The state before the step.
    new: The state after it; of the same class.
    *values: Scalars that must be finite, such as losses and gradient norms.
  """
  finite = jnp.all(jnp.isfinite(jnp.stack(values)))
  healthy = old.failed_step == NO_STEP
  applied = finite & healthy
  kept = jax.tree.map(
      lambda n, o: o if n is o else jnp.where(applied, n, o), new, old
  )
  return kept.replace(
      failed_step=jnp.where(healthy & ~finite, old.step, old.failed_step)
  )
