"""The loop, with a stage so small that all of it can be computed by hand."""

import dataclasses
import functools
import json
import os
import signal
import types

import flax
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from rq_jax.data import loader
from rq_jax.data.sources import digits
from rq_jax.distributed import interrupts
from rq_jax.distributed import partitioning
from rq_jax.training import loop
from rq_jax.training import update
from tests import tiny

STEPS = 5


@flax.struct.dataclass
class State:
  step: jax.Array
  failed_step: jax.Array
  rng: jax.Array
  params: dict
  ema_params: dict | None


@flax.struct.dataclass
class Task:
  breaks_at: int = flax.struct.field(pytree_node=False, default=-1)
  ema: bool = flax.struct.field(pytree_node=False, default=True)
  on_summary: object = flax.struct.field(
      pytree_node=False, default=lambda: None
  )


def init_state(task, rng):
  params = {'w': jax.random.normal(rng, (4,))}
  return State(
      step=jnp.int32(0),
      failed_step=jnp.int32(update.NO_STEP),
      rng=rng,
      params=params,
      ema_params=params if task.ema else None,
  )


def train_step(task, state, batch):
  """Adds the mean of the images, and noise of the step."""
  noise = jax.random.normal(jax.random.fold_in(state.rng, state.step), (4,))
  change = jnp.mean(batch['image']) + noise
  change = jnp.where(state.step == task.breaks_at, jnp.nan, change)
  params = {'w': state.params['w'] + change}
  loss = jnp.sum(params['w'])
  new = state.replace(step=state.step + 1, params=params)
  if task.ema:
    new = new.replace(ema_params={'w': params['w'] / 2})
  metrics = {'loss': loss, 'codebook/used': state.step / 100}
  return update.keep_if_not_finite(state, new, loss), metrics


def eval_step(task, state, batch):
  pixels = jnp.sum(batch['image'], axis=(1, 2, 3))
  return {
      'count': jnp.sum(batch['valid']),
      'pixels': jnp.sum(jnp.where(batch['valid'], pixels, 0)),
      'weights': jnp.sum(batch['valid']) * jnp.sum(state.params['w']),
  }


def summarize(task, sums):
  task.on_summary()
  return {
      'pixel': sums['pixels'] / sums['count'] / (tiny.SIZE**2 * 3),
      'weight': sums['weights'] / sums['count'],
      'count': sums['count'],
  }


def preview(task, state, batch):
  pixels = (batch['image'] + 1) * 127.5
  return {'digits': jnp.round(pixels[None]).astype(jnp.uint8)}


STAGE = loop.Stage(
    init_state=init_state,
    train_step=train_step,
    eval_step=eval_step,
    summarize=summarize,
    preview=preview,
    weights=('params',),
)


def experiment(**train):
  # A large batch makes evaluations short; 359 is no multiple of it.
  return tiny.stage1_config(
      data=dict(batch_size=64), train=dict(checkpoint_steps=2) | train
  )


def run(
    workdir, task=None, *, steps=STEPS, config=None, stage=STAGE, splits=None
):
  return loop.run(
      stage,
      task or Task(),
      config or experiment(),
      partitioning.make_mesh({'data': -1}),
      workdir,
      splits=splits or digits_splits(),
      total_steps=steps,
  )


@functools.cache
def digits_splits():
  return loop.Splits(
      train=digits.Digits('train', tiny.SIZE),
      test=digits.Digits('test', tiny.SIZE),
  )


def saved(workdir):
  """Steps of the checkpoints of a folder."""
  return sorted(int(p.name) for p in (workdir / 'checkpoints').iterdir())


def weights_at(workdir, step, name='params'):
  return tiny.saved_state(workdir, step)[name]['w']


def expected_states(steps=STEPS):
  """The states before and after each step, without the loop."""
  config = experiment()
  batches = loader.train_batches(
      digits.Digits('train', tiny.SIZE),
      transform=loader.image_transform(config.data, train=True),
      batch_size=64,
      seed=config.seed,
  )
  states = [init_state(Task(), jax.random.key(config.seed))]
  for _ in range(steps):
    state, _ = train_step(Task(), states[-1], next(batches))
    states.append(state)
  batches.close()
  return states


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """The folder of a run that nothing disturbed, and what it returned."""
  folder = tmp_path_factory.mktemp('finished')
  return folder, run(folder, config=experiment(eval_steps=3))


def test_a_run_takes_the_steps_it_is_to_take(finished):
  folder, _ = finished
  states = expected_states()
  assert saved(folder) == [4, 5]
  for step in (4, 5):
    # Means over a batch that is split over devices, in float32.
    np.testing.assert_allclose(
        weights_at(folder, step), states[step].params['w'], rtol=1e-5
    )
  lines = [x for x in tiny.metric_lines(folder) if 'train/loss' in x]
  assert [line['step'] for line in lines] == [1, 2, 3, 4, 5]
  for line, state in zip(lines, states[1:]):
    np.testing.assert_allclose(
        line['train/loss'], np.sum(state.params['w']), rtol=1e-4
    )
    # Names that have a section already keep it.
    np.testing.assert_allclose(line['codebook/used'], (line['step'] - 1) / 100)


def test_evaluation_sees_every_held_out_example_once(finished):
  folder, results = finished
  held_out = digits.Digits('test', tiny.SIZE)
  pixels = np.mean([held_out[i]['image'] for i in range(len(held_out))])
  assert results['eval/count'] == len(held_out) == 359
  # Sums of 64 images in float32.
  np.testing.assert_allclose(
      results['eval/pixel'], pixels / 127.5 - 1, rtol=1e-5
  )
  lines = [x for x in tiny.metric_lines(folder) if 'eval/count' in x]
  assert [line['step'] for line in lines] == [3, 5]
  assert lines[-1] == {'step': 5} | results
  weights = [np.sum(expected_states()[step].params['w']) for step in (3, 5)]
  np.testing.assert_allclose(
      [line['eval/weight'] for line in lines], weights, rtol=1e-4
  )


@pytest.mark.parametrize('batch_size', [64, 8])
def test_evaluation_and_previews_are_of_the_first_held_out_examples(
    batch_size, tmp_path
):
  """Though neither batch size divides their number, and one exceeds it."""
  config = tiny.changed(
      experiment(eval_images=20), data=dict(batch_size=batch_size)
  )
  results = run(tmp_path, config=config, steps=1)
  first = np.stack([digits_splits().test[i]['image'] for i in range(20)])
  assert results['eval/count'] == 20
  np.testing.assert_allclose(
      results['eval/pixel'], np.mean(first) / 127.5 - 1, rtol=1e-5
  )
  # A column for each, with borders of two pixels, and none for padding.
  columns = min(batch_size, 20)
  picture = np.asarray(Image.open(tmp_path / 'images' / 'digits_00000001.png'))
  assert picture.shape[1] == columns * (tiny.SIZE + 2) + 2
  last = picture[2 : 2 + tiny.SIZE, -tiny.SIZE - 2 : -2]
  np.testing.assert_array_equal(last, first[columns - 1])


def test_previews_are_written_as_pictures(finished):
  folder, _ = finished
  names = sorted(p.name for p in (folder / 'images').iterdir())
  assert names == ['digits_00000003.png', 'digits_00000005.png']
  picture = np.asarray(Image.open(folder / 'images' / names[0]))
  # Of the first batch; grids have borders of two pixels.
  image = digits.Digits('test', tiny.SIZE)[0]['image']
  np.testing.assert_array_equal(
      picture[2 : 2 + tiny.SIZE, 2 : 2 + tiny.SIZE], image
  )


def test_metrics_may_be_logged_now_and_then_and_the_speed_with_them(
    tmp_path, monkeypatch
):
  """The clock is one second later whenever it is looked at."""
  ticks = iter(range(1000))
  clock = types.SimpleNamespace(perf_counter=lambda: float(next(ticks)))
  monkeypatch.setattr(loop, 'time', clock)
  config = experiment(log_steps=2, checkpoint_steps=4)
  run(tmp_path, config=config)
  text = (tmp_path / 'metrics.jsonl').read_text()
  lines = [json.loads(x) for x in text.splitlines() if 'train/loss' in x]
  # Two steps of 64 images, or one: nothing else looks at it, and that the
  # metrics of step 4 are written before its checkpoint does not matter.
  speeds = [line['speed/images_per_second'] for line in lines]
  assert [line['step'] for line in lines] == [2, 4, 5]
  assert speeds == [128.0, 128.0, 64.0]


def test_a_finished_run_only_evaluates_again(finished):
  folder, results = finished
  before = tiny.metric_lines(folder)
  saved_before = weights_at(folder, STEPS)

  def fail(*_):
    raise AssertionError('A step was taken.')

  stage = dataclasses.replace(STAGE, train_step=fail)
  assert run(folder, config=experiment(eval_steps=3), stage=stage) == results
  # The same metrics once, not twice.
  assert tiny.metric_lines(folder) == before
  np.testing.assert_array_equal(weights_at(folder, STEPS), saved_before)


def test_a_longer_run_continues_a_finished_one(finished, tmp_path):
  folder, _ = finished
  run(tmp_path, steps=2)
  assert saved(tmp_path) == [2]
  run(tmp_path, config=experiment(eval_steps=3))
  assert saved(tmp_path) == [4, 5]
  np.testing.assert_array_equal(weights_at(tmp_path, 5), weights_at(folder, 5))


def train_lines(workdir):
  return [line for line in tiny.metric_lines(workdir) if 'train/loss' in line]


@pytest.mark.parametrize('step', [2, 3])
def test_a_signal_ends_a_run_in_good_order_and_it_goes_on(
    step, finished, tmp_path
):
  """Whether that step would have been saved anyway (2) or not (3)."""
  folder, results = finished

  def kill():
    os.kill(os.getpid(), signal.SIGTERM)

  with pytest.raises(interrupts.Interrupted, match=f'saved at step {step};'):
    run(tmp_path, Task(on_summary=kill), config=experiment(eval_steps=step))
  assert step in saved(tmp_path)
  assert [x['step'] for x in train_lines(tmp_path)] == list(range(1, step + 1))
  assert run(tmp_path, config=experiment()) == results
  assert train_lines(tmp_path) == train_lines(folder)
  for name in ('params', 'ema_params'):
    np.testing.assert_array_equal(
        weights_at(tmp_path, 5, name), weights_at(folder, 5, name)
    )


def test_a_signal_in_the_last_step_changes_nothing(finished, tmp_path):
  def kill():
    os.kill(os.getpid(), signal.SIGTERM)

  task = Task(on_summary=kill)
  assert run(tmp_path, task, config=experiment(eval_steps=1000)) == finished[1]
  assert STEPS in saved(tmp_path)


def test_metrics_of_a_step_are_on_disk_before_its_checkpoint(
    tmp_path, monkeypatch
):
  """Else a run killed between the two would never write them."""
  on_disk = {}
  save = loop.runs.Checkpoints.save

  def look(self, step, *arguments):
    on_disk[step] = [line['step'] for line in train_lines(tmp_path)]
    save(self, step, *arguments)

  monkeypatch.setattr(loop.runs.Checkpoints, 'save', look)
  run(tmp_path)
  assert on_disk == {2: [1, 2], 4: [1, 2, 3, 4], 5: [1, 2, 3, 4, 5]}


@pytest.mark.parametrize('log_steps', [1, 1000])
def test_a_step_that_is_not_finite_ends_the_run_and_is_saved_nowhere(
    log_steps, finished, tmp_path
):
  config = experiment(log_steps=log_steps)
  with pytest.raises(FloatingPointError, match='at step 3 .* is of step 2'):
    run(tmp_path, Task(breaks_at=2), config=config)
  assert saved(tmp_path) == [2]
  assert np.all(np.isfinite(weights_at(tmp_path, 2)))
  # Once the step is no longer wrong, the run goes on from the one before.
  run(tmp_path, config=config)
  np.testing.assert_array_equal(
      weights_at(tmp_path, 5), weights_at(finished[0], 5)
  )


def test_weights_from_before_a_step_that_failed_may_be_started_from(tmp_path):
  """As the error says, which names the folder."""
  first = tmp_path / 'first'
  with pytest.raises(FloatingPointError, match=f'init_from={first}') as error:
    run(first, Task(breaks_at=3), config=experiment(log_steps=1))
  assert 'of step 2, and a finite step followed it' in str(error.value)
  config = tiny.changed(experiment(), init_from=str(first))
  run(tmp_path / 'second', config=config)
  assert saved(tmp_path / 'second') == [4, 5]


def test_a_run_that_fails_in_its_last_step_says_so(tmp_path):
  with pytest.raises(FloatingPointError, match='at step 5 .* is of step 4'):
    run(
        tmp_path,
        Task(breaks_at=4),
        config=experiment(log_steps=1000, checkpoint_steps=1),
    )
  assert saved(tmp_path) == [3, 4]


def test_a_run_may_start_from_the_weights_of_another(finished, tmp_path):
  folder, _ = finished
  config = experiment()
  config = tiny.changed(config, init_from=str(folder))
  for ema in (True, False):
    state = started(tmp_path / str(ema), config, Task(ema=ema))
    # Those that the other run would be used with: its averages.
    weights = weights_at(folder, STEPS, 'ema_params')
    assert state.step == 0
    np.testing.assert_array_equal(state.params['w'], weights)
    if ema:
      np.testing.assert_array_equal(state.ema_params['w'], weights)
  # Nothing of the other run's rng comes along.
  np.testing.assert_array_equal(
      jax.random.key_data(state.rng), jax.random.key_data(jax.random.key(0))
  )


def started(workdir, config, task):
  """The state that a run takes its first step from."""
  seen = []

  def spy(task, state, batch):
    jax.debug.callback(lambda state: seen.append(state), state)
    return train_step(task, state, batch)

  stage = dataclasses.replace(STAGE, train_step=spy)
  run(workdir, task, config=config, steps=1, stage=stage)
  jax.effects_barrier()
  return seen[0]


def test_a_checkpoint_wins_over_the_weights_to_start_from(finished, tmp_path):
  run(tmp_path, steps=2)
  config = experiment()
  config = tiny.changed(config, init_from=str(finished[0]))
  run(tmp_path, config=config)
  np.testing.assert_array_equal(
      weights_at(tmp_path, 5), weights_at(finished[0], 5)
  )


def test_data_of_another_length_are_refused(tmp_path):
  run(tmp_path, steps=2)
  shorter = digits_splits()._replace(train=digits_splits().test)
  with pytest.raises(ValueError, match='have 359 examples, but had 1438'):
    run(tmp_path, splits=shorter)
