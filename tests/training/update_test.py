"""A step that is not finite is never applied, nor is any step after it."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rq_jax.training import update

_ADAM = optax.adam(0.1)


@flax.struct.dataclass
class _State:
  step: jax.Array
  failed_step: jax.Array
  rng: jax.Array  # Stays the same object in every step.
  params: dict
  opt_state: optax.OptState
  ema_params: dict | None


def _initial():
  params = {'w': jnp.array([1.0, -2.0])}
  return _State(
      step=jnp.zeros((), jnp.int32),
      failed_step=jnp.full((), update.NO_STEP, jnp.int32),
      rng=jax.random.key(0),
      params=params,
      opt_state=_ADAM.init(params),
      ema_params=None,
  )


@jax.jit
def _unguarded(state, values):
  grads = {'w': state.params['w'] * values[0]}
  updates, opt_state = _ADAM.update(grads, state.opt_state)
  return state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
  )


@jax.jit
def _guarded(state, values):
  return update.keep_if_not_finite(state, _unguarded(state, values), *values)


def _bits(state):
  plain = state.replace(rng=jax.random.key_data(state.rng))
  return [np.asarray(x).tobytes() for x in jax.tree.leaves(plain)]


_GOOD = np.ones(3, np.float32)


def test_finite_steps_are_applied_as_they_are():
  guarded = unguarded = _initial()
  for _ in range(3):
    guarded = _guarded(guarded, _GOOD)
    unguarded = _unguarded(unguarded, _GOOD)
  assert _bits(guarded) == _bits(unguarded)
  assert guarded.step == 3 and guarded.failed_step == update.NO_STEP


@pytest.mark.parametrize('position', [0, 1, 2])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_step_with_a_value_that_is_not_finite_changes_nothing(
    value, position
):
  before = _guarded(_initial(), _GOOD)
  bad = _GOOD.copy()
  bad[position] = value
  after = _guarded(before, bad)
  assert after.failed_step == 1  # The second step, counted from 0.
  assert _bits(after.replace(failed_step=before.failed_step)) == _bits(before)


def test_the_very_first_step_may_fail():
  after = _guarded(_initial(), _GOOD * np.nan)
  assert after.failed_step == 0 and after.step == 0


def test_the_first_failure_is_final():
  failed = _guarded(_guarded(_initial(), _GOOD), _GOOD * np.inf)
  later = failed
  for values in (_GOOD, _GOOD * np.nan, _GOOD):
    later = _guarded(later, values)
    assert _bits(later) == _bits(failed)
