"""The end of a training step, shared by both stages: gradients move a state.

In this module, a task is any object with the fields `optimizer`, `schedule` and
`ema_decay`, and a state is any object with the fields that `initial` returns.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rq_jax.training import optim
from rq_jax.typing import Metrics, PyTree

# Value of `State.failed_step` as long as no step has failed.
NO_STEP = -1


def initial(task: Any, rng: jax.Array, params: PyTree) -> dict[str, Any]:
  """Initial values of the fields that the states of both stages have.

  Args:
    task: Everything that stays fixed over the run.
    rng: The key that each step folds its number into.
    params: Initial parameters, boxed with their logical axes or not.
  """
  return dict(
      step=jnp.zeros((), jnp.int32),
      failed_step=jnp.full((), NO_STEP, jnp.int32),
      rng=rng,
      params=params,
      opt_state=task.optimizer.init(params),
      ema_params=jax.tree.map(jnp.copy, params) if task.ema_decay else None,
  )


def finish(
    task: Any,
    state: Any,
    grads: PyTree,
    metrics: Metrics,
    *,
    moved: Mapping[str, PyTree] | None = None,
    must_be_finite: Iterable[str] = (),
) -> tuple[Any, Metrics]:
  """Takes a step with given gradients.

  The optimizer moves the parameters, and their average follows. If a metric
  that must be finite is not, the step is not applied, see `keep_if_not_finite`.

  Args:
    task: Everything that stays fixed over the run.
    state: The state before the step.
    grads: Gradients of `state.params`.
    metrics: Metrics of this step, including 'loss'.
    moved: New values of other fields of the state.
    must_be_finite: Metrics that must be finite, besides 'loss' and
      'gradient_norm'.

  Returns:
    The next state, and the metrics plus 'gradient_norm' and 'learning_rate'.
  """
  params, opt_state = descend(
      task.optimizer, grads, state.opt_state, state.params
  )
  new = state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, **(moved or {})
  )
  if task.ema_decay:
    new = new.replace(
        ema_params=optim.update_ema(
            state.ema_params, params, decay=task.ema_decay, step=state.step
        )
    )
  metrics = metrics | {
      'gradient_norm': optax.tree.norm(grads),
      'learning_rate': task.schedule(state.step),
  }
  names = ('loss', 'gradient_norm', *must_be_finite)
  return keep_if_not_finite(state, new, *(metrics[n] for n in names)), metrics


def descend(
    optimizer: optax.GradientTransformation,
    grads: PyTree,
    opt_state: optax.OptState,
    params: PyTree,
) -> tuple[PyTree, optax.OptState]:
  """Moves parameters by one optimizer step; returns its new state as well."""
  updates, opt_state = optimizer.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), opt_state


def keep_if_not_finite(old: Any, new: Any, *values: jax.Array) -> Any:
  """Returns the new state, or the old one if a value is not finite.

  The first step that fails is recorded in `failed_step`, and no later step is
  applied either. So when the host checks, which it does only from time to time,
  the state is still the one before that step.

  Args:
    old: The state before the step.
    new: The state after the step, of the same class.
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


def averaged(state: Any) -> PyTree:
  """The parameters to use a model with: the averages, if there are any."""
  return state.params if state.ema_params is None else state.ema_params
