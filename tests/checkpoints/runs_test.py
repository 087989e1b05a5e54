"""States are restored bit for bit; a failure is reported in one sentence."""

import errno
import shutil

import jax
import jax.numpy as jnp
import pytest

from rq_jax import files
from rq_jax.checkpoints import failures
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from tests import states


def test_a_state_comes_back_bit_for_bit_on_any_mesh(tmp_path):
  state = jax.device_put(
      states.state(), states.shardings(states.state(), states.mesh('8'))
  )
  for step, name in enumerate(('8', '1', '2x4')):
    shardings = states.shardings(state, states.mesh(name))
    meta = {'position': step, 'order': [1, 2]}
    with runs.Checkpoints(tmp_path, keep=3) as checkpoints:
      checkpoints.save(step, state, meta)
    with runs.Checkpoints(tmp_path, keep=3) as checkpoints:
      state, found = checkpoints.restore(step, states.shapes(state), shardings)
    assert found == meta
    states.assert_same(state, states.state())
    assert jax.tree.map(lambda x: x.sharding, state) == shardings
  assert jax.random.uniform(state.rng) == jax.random.uniform(states.state().rng)


def test_a_state_may_be_donated_once_its_save_has_begun(tmp_path):
  state = jax.tree.map(jnp.copy, states.state())
  shardings = jax.tree.map(lambda x: x.sharding, state)
  with runs.Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(1, state, {})
    jax.tree.map(lambda x: x.delete(), state)
  with runs.Checkpoints(tmp_path, keep=1) as checkpoints:
    restored, _ = checkpoints.restore(
        1, states.shapes(states.state()), shardings
    )
  states.assert_same(restored, states.state())


def test_only_the_newest_checkpoints_are_kept(tmp_path):
  with runs.Checkpoints(tmp_path, keep=2) as checkpoints:
    assert (checkpoints.latest_step(), checkpoints.steps()) == (None, [])
    for step in (1, 2, 10):
      checkpoints.save(step, {'x': jnp.ones(2)}, {})
    assert checkpoints.latest_step() == 10
    assert checkpoints.steps()[-2:] == [2, 10]
  names = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  assert names == {'2', '10'}


def test_leaving_waits_for_the_checkpoint_under_way(tmp_path):
  states.save(tmp_path, states.state(), step=4)
  variables, _ = stored.restore_variables(
      tmp_path, states.shapes(states.variables())
  )
  states.assert_same(variables['codebook'], states.variables()['codebook'])


def test_an_unfinished_checkpoint_does_not_count_and_is_overwritten(tmp_path):
  states.save(tmp_path, states.state())
  folder = tmp_path / 'checkpoints'
  shutil.copytree(folder / '3', folder / '7.orbax-checkpoint-tmp')
  _, found = stored.restore_variables(
      tmp_path, states.shapes(states.variables())
  )
  assert 'step 3' in found
  with runs.Checkpoints(tmp_path, keep=2) as checkpoints:
    assert checkpoints.latest_step() == 3
    checkpoints.save(7, states.state(), {})
  assert {path.name for path in folder.iterdir()} == {'3', '7'}


@pytest.mark.parametrize(
    ('error', 'kind', 'words'),
    [
        (
            OSError(errno.ENOSPC, 'No space left on device'),
            files.DiskFullError,
            'The disk of .*checkpoints is full',
        ),
        (
            OSError(errno.EIO, 'worn out'),
            failures.SaveFailedError,
            'could not be saved in .*checkpoints: OSError: .* worn out',
        ),
    ],
)
def test_what_fails_in_the_background_ends_in_one_sentence(
    error, kind, words, tmp_path, monkeypatch
):
  def fail(*_, **__):
    raise error

  states.save(tmp_path, states.state(), step=1)
  with (
      pytest.raises(kind, match=words),
      runs.Checkpoints(tmp_path, keep=2) as checkpoints,
  ):
    manager = checkpoints._manager
    monkeypatch.setattr(manager, '_finalize_checkpoint', fail)
    checkpoints.save(2, states.state(), {})
  stored.restore_variables(tmp_path, states.shapes(states.variables()), step=1)


def test_a_state_that_does_not_fit_is_refused_before_it_is_written(
    tmp_path, monkeypatch
):
  size = sum(x.nbytes for x in jax.tree.leaves(states.state()))
  monkeypatch.setattr(files, 'free_bytes', lambda _: size // 2)
  with runs.Checkpoints(tmp_path, keep=2) as checkpoints:
    with pytest.raises(files.DiskFullError, match='are needed. Free at least'):
      checkpoints.save(1, states.state(), {})
    monkeypatch.setattr(files, 'free_bytes', lambda _: size)
    checkpoints.save(1, states.state(), {})
  assert steps.finished(tmp_path) == [1]
