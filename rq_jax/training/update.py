"""How a step of either stage ends: parameters move, unless it went wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rq_jax.training import optim
from rq_jax.typing import Metrics, PyTree

# What `State.failed_step` holds while all is well.
NO_STEP = -1


def advance(
    task: Any, state: Any, grads: PyTree, **moved: Any
) -> tuple[Any, Metrics]:
  """Takes one optimizer step.

  Args:
    task: Has the attributes `optimizer`, `schedule` and `ema_decay`.
    state: A state with `step`, `params`, `opt_state` and `ema_params`.
    grads: Gradients of the parameters.
    **moved: Fields of the state that move otherwise, such as the codebook.

  Returns:
    The state after the step, and the metrics 'gradient_norm' and
    'learning_rate'.
  """
  updates, opt_state = task.optimizer.update(
      grads, state.opt_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  new = state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, **moved
  )
  if task.ema_decay:
    new = new.replace(
        ema_params=optim.update_ema(
            state.ema_params, params, decay=task.ema_decay, step=state.step
        )
    )
  return new, {
      'gradient_norm': optax.tree.norm(grads),
      'learning_rate': task.schedule(state.step),
  }


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
