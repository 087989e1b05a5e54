"""Wrong numbers of a device end a run before they reach a checkpoint."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.training import stepping
from rq_jax.training import verification
from tests import tiny
from tests.training import toy


def flipped(array, device, bit=0):
  """The same array, with one bit of one device's part flipped."""

  def part(shard):
    data = np.array(shard.data)
    if shard.device == device:
      data.reshape(-1).view(np.uint32)[0] ^= np.uint32(1 << bit)
    return jax.device_put(data, shard.device)

  return jax.make_array_from_single_device_arrays(
      array.shape, array.sharding, [part(s) for s in array.addressable_shards]
  )


def mesh(**shape):
  return partitioning.make_mesh(shape or {'data': -1})


def state_on(mesh):
  """A state with a replicated array, a split one, and a key."""
  whole = partitioning.replicated(mesh)
  return {
      'key': jax.device_put(jax.random.key(3), whole),
      'split': jax.device_put(
          jnp.arange(32.0).reshape(8, 4),
          NamedSharding(mesh, PartitionSpec('fsdp')),
      ),
      'whole': jax.device_put(jnp.arange(5.0), whole),
  }


def take(state):
  return jax.tree.map(
      lambda x: x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x * 2,
      state,
  )


def verified(state, mesh, step=take):
  # As in a run, outputs lie where inputs lay.
  shardings = jax.tree.map(lambda x: x.sharding, state)
  compiled = jax.jit(step, donate_argnums=0, out_shardings=shardings)
  results = verification.verified(compiled, state, step=6, mesh=mesh)
  assert compiled._cache_size() == 1  # Both times, it is the same program.
  return results


@pytest.mark.parametrize('shape', [dict(data=8), dict(data=2, fsdp=4)])
def test_equal_results_pass_and_are_those_of_one_step(shape):
  on = mesh(**shape)
  tiny.assert_trees_equal(verified(state_on(on), on), take(state_on(on)))


@pytest.mark.parametrize('bit', [0, 17, 31])
def test_a_flipped_bit_in_one_copy_is_found_and_its_device_named(bit):
  on = mesh(data=2, fsdp=2, model=2)
  state = state_on(on)
  state['whole'] = flipped(state['whole'], jax.devices()[5], bit)
  with pytest.raises(verification.WrongResultError) as error:
    verified(state, on)
  assert str(error.value).startswith(
      'Copies of one array differ before step 6: whole, on cpu 5 of process 0.'
  )


def test_of_two_copies_both_are_named():
  on = mesh(data=2, fsdp=4)
  state = state_on(on)
  # Devices 1 and 5 hold the same rows.
  state['split'] = flipped(state['split'], jax.devices()[5])
  with pytest.raises(
      verification.WrongResultError,
      match='before step 6: split, on cpu 1 of process 0, cpu 5 of process 0',
  ):
    verified(state, on)


def test_an_array_that_nobody_else_holds_is_compared_with_itself():
  on = mesh(fsdp=8)
  calls = []

  def step(state):
    result = jax.jit(take)(state)
    calls.append(1)
    if len(calls) == 2:
      result['split'] = flipped(result['split'], jax.devices()[2])
    return result

  with pytest.raises(
      verification.WrongResultError,
      match='Step 6 was computed twice .* differ: split, on cpu 2 of process',
  ):
    verification.verified(step, state_on(on), step=6, mesh=on)


def test_verified_runs_end_with_the_same_bits(tmp_path):
  folder, results = toy.finished()
  config = toy.experiment(verify_every=2, eval_steps=3)
  assert toy.run(tmp_path, config=config) == results
  tiny.assert_trees_equal(
      tiny.saved_state(tmp_path, 5), tiny.saved_state(folder, 5)
  )
  assert toy.train_lines(tmp_path) == toy.train_lines(folder)


@pytest.mark.parametrize('flipped_after', [1, 2, 3])
def test_a_bit_flipped_on_one_of_eight_devices_is_found_within_n_steps(
    flipped_after, tmp_path, monkeypatch
):
  real = stepping.Stepper.take

  def take(self, step, state, batch):
    state, metrics = real(self, step, state, batch)
    if step == flipped_after:
      broken = flipped(state.params['w'], jax.devices()[6])
      state = state.replace(params={'w': broken})
    return state, metrics

  monkeypatch.setattr(stepping.Stepper, 'take', take)
  config = toy.experiment(verify_every=2, checkpoint_steps=1)
  with pytest.raises(
      verification.WrongResultError, match='params/w.* cpu 6 of process 0'
  ) as error:
    toy.run(tmp_path, config=config)
  found_at = flipped_after // 2 * 2 + 2
  assert {
      2: 'No earlier step was verified, so any checkpoint may hold wrong',
      4: 'Step 2 was verified, and checkpoints of later steps may hold wrong',
  }[found_at] in str(error.value)
  assert f'before step {found_at}:' in str(error.value)
  assert max(toy.saved(tmp_path)) == found_at - 1


def broken_at(monkeypatch, step):
  """Flips a bit of a copy before a step."""
  real = stepping.Stepper.take

  def take(self, number, state, batch):
    if number == step:
      broken = flipped(state.params['w'], jax.devices()[6])
      state = state.replace(params={'w': broken})
    return real(self, number, state, batch)

  monkeypatch.setattr(stepping.Stepper, 'take', take)


def test_if_every_step_is_verified_all_checkpoints_are_sound(
    tmp_path, monkeypatch
):
  broken_at(monkeypatch, 3)
  with pytest.raises(
      verification.WrongResultError,
      match='No checkpoint contains step 3. Step 2 was verified. Run the',
  ):
    toy.run(tmp_path, config=toy.experiment(verify_every=1))


def test_a_resumed_run_knows_which_step_was_verified(tmp_path, monkeypatch):
  toy.run(tmp_path, steps=3, config=toy.experiment(verify_every=2))
  # Verification may be off for a while.
  toy.run(tmp_path, steps=4, config=toy.experiment())
  broken_at(monkeypatch, 5)
  with pytest.raises(
      verification.WrongResultError, match='Step 2 was verified, and checkpoi'
  ):
    toy.run(tmp_path, config=toy.experiment(verify_every=5))


@pytest.mark.parametrize('limit', [0, 2])
def test_a_step_that_is_wrong_once_is_found_and_not_saved(limit, tmp_path):
  """The sixth computation is the second one of step 4."""
  calls = []

  def count(x):
    calls.append(1)
    return np.float32(1e-3 if len(calls) == 6 else 0) + x

  def wrong(task, state, batch):
    state, metrics = toy.train_step(task, state, batch)
    loss = jax.pure_callback(
        count, jax.ShapeDtypeStruct((), jnp.float32), metrics['loss']
    )
    params = {'w': state.params['w'] + (loss - metrics['loss'])}
    return state.replace(params=params), metrics

  stage = dataclasses.replace(toy.STAGE, train_step=wrong)
  config = toy.experiment(verify_every=2, checkpoint_steps=1, max_skipped=limit)
  with pytest.raises(
      verification.WrongResultError, match='Step 4 was computed twice'
  ) as error:
    toy.run(tmp_path, config=config, stage=stage)
  assert 'params/w' in str(error.value)
  assert max(toy.saved(tmp_path)) == 3
