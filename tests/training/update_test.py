"""The end of a step: it moves the state, unless a value is not finite."""

import types

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


def _unguarded(state, values):
  grads = {'w': state.params['w'] * values[0]}
  updates, opt_state = _ADAM.update(grads, state.opt_state)
  return state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
  )


@jax.jit
def _both(state, values):
  """The states after a guarded step and after an unguarded one."""
  new = _unguarded(state, values)
  return update.keep_if_not_finite(state, new, *values), new


def _guarded(state, values):
  return _both(state, values)[0]


def _bits(state):
  plain = state.replace(rng=jax.random.key_data(state.rng))
  return [np.asarray(x).tobytes() for x in jax.tree.leaves(plain)]


_GOOD = np.ones(3, np.float32)


def test_finite_steps_are_applied_as_they_are():
  guarded = _initial()
  for _ in range(3):
    before = guarded
    guarded, unguarded = _both(before, _GOOD)
    assert _bits(guarded) == _bits(unguarded) != _bits(before)
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


_TASK = types.SimpleNamespace(
    optimizer=optax.sgd(0.5), schedule=lambda step: 0.5 + step, ema_decay=0.2
)
_GRADS = {'w': jnp.array([3.0, 4.0])}


def _begun():
  """A state after its second step."""
  params = {'w': jnp.array([1.0, -2.0])}
  begun = _State(**update.initial(_TASK, jax.random.key(0), params))
  assert begun.step == 0 and begun.failed_step == update.NO_STEP
  np.testing.assert_array_equal(begun.ema_params['w'], [1.0, -2.0])
  return begun.replace(step=jnp.int32(2))


def test_a_step_moves_parameters_their_average_and_what_else_is_given():
  metrics = {'loss': jnp.float32(1), 'other': jnp.float32(np.nan)}
  key = jax.random.key(7)
  after, found = update.finish(
      _TASK, _begun(), _GRADS, metrics, moved={'rng': key}
  )
  np.testing.assert_allclose(after.params['w'], [-0.5, -4.0])
  # Early on, the decay is (1 + 2) / (10 + 2), but never more than 0.2.
  np.testing.assert_allclose(after.ema_params['w'], [-0.2, -3.6], rtol=1e-6)
  assert (after.step, after.failed_step) == (3, update.NO_STEP)
  assert after.rng == key
  assert found['gradient_norm'] == 5 and found['learning_rate'] == 2.5
  assert set(found) == {'loss', 'other', 'gradient_norm', 'learning_rate'}


@pytest.mark.parametrize('broken', ['loss', 'other', 'gradient_norm'])
def test_a_step_is_kept_back_by_each_metric_that_must_be_finite(broken):
  metrics = {'loss': jnp.float32(1), 'other': jnp.float32(1)}
  metrics |= {broken: jnp.float32(np.nan)}
  grads = _GRADS
  if broken == 'gradient_norm':
    grads = {'w': jnp.array([3.0, np.inf])}
  before = _begun()
  after, _ = update.finish(
      _TASK, before, grads, metrics, must_be_finite=('other',)
  )
  assert after.failed_step == 2
  assert _bits(after.replace(failed_step=before.failed_step)) == _bits(before)
