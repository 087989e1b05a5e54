"""The loop takes steps, logs and saves them, and resumes."""

import dataclasses
import json
import re
import types

import jax
import numpy as np
import pytest

from rq_jax.training import loop
from tests import tiny
from tests.training import toy


def test_a_run_takes_the_steps_it_is_to_take():
  folder, _ = toy.finished()
  states = toy.expected_states()
  assert toy.saved(folder) == [4, 5]
  for step in (4, 5):
    # Means in float32, over a batch that is split over devices.
    np.testing.assert_allclose(
        toy.weights_at(folder, step), states[step].params['w'], rtol=1e-5
    )
  lines = [x for x in tiny.metric_lines(folder) if 'train/loss' in x]
  assert [line['step'] for line in lines] == [1, 2, 3, 4, 5]
  for line, state in zip(lines, states[1:]):
    np.testing.assert_allclose(
        line['train/loss'], np.sum(state.params['w']), rtol=1e-4
    )
    # Names that already have a section keep it.
    np.testing.assert_allclose(line['codebook/used'], (line['step'] - 1) / 100)


def test_metrics_may_be_logged_now_and_then_and_the_speed_with_them(
    tmp_path, monkeypatch
):
  """Each reading of the clock is one second later than the one before."""
  ticks = iter(range(1000))
  clock = types.SimpleNamespace(perf_counter=lambda: float(next(ticks)))
  monkeypatch.setattr(loop, 'time', clock)
  config = toy.experiment(log_steps=2, checkpoint_steps=4)
  toy.run(tmp_path, config=config)
  text = (tmp_path / 'metrics.jsonl').read_text()
  lines = [json.loads(x) for x in text.splitlines() if 'train/loss' in x]
  # Two steps of 64 images, or one. Nothing else reads the clock, not even
  # writing the metrics of step 4 early, before its checkpoint.
  speeds = [line['speed/images_per_second'] for line in lines]
  assert [line['step'] for line in lines] == [2, 4, 5]
  assert speeds == [128.0, 128.0, 64.0]


def test_a_finished_run_only_evaluates_again():
  folder, results = toy.finished()
  before = tiny.metric_lines(folder)
  saved_before = toy.weights_at(folder, toy.STEPS)

  def fail(*_):
    raise AssertionError('A step was taken.')

  stage = dataclasses.replace(toy.STAGE, train_step=fail)
  assert (
      toy.run(folder, config=toy.experiment(eval_steps=3), stage=stage)
      == results
  )
  # The evaluation is there once, not twice.
  assert tiny.metric_lines(folder) == before
  np.testing.assert_array_equal(toy.weights_at(folder, toy.STEPS), saved_before)


def test_a_longer_run_continues_a_finished_one(tmp_path):
  folder, _ = toy.finished()
  toy.run(tmp_path, steps=2)
  assert toy.saved(tmp_path) == [2]
  toy.run(tmp_path, config=toy.experiment(eval_steps=3))
  assert toy.saved(tmp_path) == [4, 5]
  np.testing.assert_array_equal(
      toy.weights_at(tmp_path, 5), toy.weights_at(folder, 5)
  )


def test_metrics_of_a_step_are_on_disk_before_its_checkpoint(
    tmp_path, monkeypatch
):
  """Otherwise, a run killed between the two would never write them."""
  on_disk = {}
  save = loop.runs.Checkpoints.save

  def look(self, step, *arguments):
    on_disk[step] = [line['step'] for line in toy.train_lines(tmp_path)]
    save(self, step, *arguments)

  monkeypatch.setattr(loop.runs.Checkpoints, 'save', look)
  toy.run(tmp_path)
  assert on_disk == {2: [1, 2], 4: [1, 2, 3, 4], 5: [1, 2, 3, 4, 5]}


def test_a_run_may_start_from_the_weights_of_another(tmp_path):
  folder, _ = toy.finished()
  config = toy.experiment()
  config = tiny.changed(config, init_from=str(folder))
  for ema in (True, False):
    state = started(tmp_path / str(ema), config, toy.Task(ema=ema))
    # The averages, which the other run would be used with.
    weights = toy.weights_at(folder, toy.STEPS, 'ema_params')
    assert state.step == 0
    np.testing.assert_array_equal(state.params['w'], weights)
    if ema:
      np.testing.assert_array_equal(state.ema_params['w'], weights)
  # The rng does not come from the other run.
  np.testing.assert_array_equal(
      jax.random.key_data(state.rng), jax.random.key_data(jax.random.key(0))
  )


def started(workdir, config, task):
  """The state before the first step of a run."""
  seen = []

  def spy(task, state, batch):
    jax.debug.callback(lambda state: seen.append(state), state)
    return toy.train_step(task, state, batch)

  stage = dataclasses.replace(toy.STAGE, train_step=spy)
  toy.run(workdir, task, config=config, steps=1, stage=stage)
  jax.effects_barrier()
  return seen[0]


def test_a_step_takes_the_memory_of_the_state_before(tmp_path, monkeypatch):
  """Otherwise, two states must fit on a device."""
  opened = []
  open_state = loop.start.open_state

  def spy(*arguments, **options):
    opened.append(open_state(*arguments, **options))
    return opened[0]

  monkeypatch.setattr(loop.start, 'open_state', spy)
  toy.run(tmp_path, steps=1)
  state, *_ = opened[0]
  assert state.params['w'].is_deleted()
  assert state.ema_params['w'].is_deleted()


def test_batches_are_loaded_by_as_many_workers_as_were_asked_for(
    tmp_path, monkeypatch
):
  train_batches = loop.loader.train_batches
  asked = []

  def spy(*arguments, workers, **options):
    asked.append(workers)
    return train_batches(*arguments, **options)  # Quicker, and the same.

  monkeypatch.setattr(loop.loader, 'train_batches', spy)
  config = tiny.changed(toy.experiment(), data=dict(workers=2))
  toy.run(tmp_path, steps=1, config=config)
  assert asked == [2]


def test_a_checkpoint_wins_over_the_weights_to_start_from(tmp_path):
  toy.run(tmp_path, steps=2)
  config = toy.experiment()
  config = tiny.changed(config, init_from=str(toy.finished()[0]))
  toy.run(tmp_path, config=config)
  np.testing.assert_array_equal(
      toy.weights_at(tmp_path, 5), toy.weights_at(toy.finished()[0], 5)
  )


def test_data_of_another_length_are_refused(tmp_path):
  toy.run(tmp_path, steps=2)
  shorter = toy.digits_splits()._replace(train=toy.digits_splits().test)
  with pytest.raises(ValueError, match='has 359 examples, but had 1438'):
    toy.run(tmp_path, splits=shorter)


def test_the_time_left_and_rates_count_no_compilation(tmp_path, monkeypatch):
  calls = []
  unpause = loop.tqdm.tqdm.unpause
  monkeypatch.setattr(
      loop.tqdm.tqdm,
      'unpause',
      lambda bar: calls.append(bar.n) or unpause(bar),
  )
  toy.run(tmp_path, steps=3)
  assert calls == [0]  # Once, after the first step was compiled.


def test_waiting_is_explained_in_order(tmp_path, capsys):
  def traced(task, state, batch):
    print('traced')  # Once, while it compiles.
    return toy.train_step(task, state, batch)

  stage = dataclasses.replace(toy.STAGE, train_step=traced)
  toy.run(tmp_path, config=toy.experiment(eval_steps=3), stage=stage)
  lines = capsys.readouterr().out.splitlines()
  for line in (lines.pop(1), lines.pop(3)):
    assert re.fullmatch(r'Compiled in \d+\.\d s\.', line)
  assert lines == [
      'Compiling the initialization (once per shape) ...',
      'Compiling the training step (once per shape) ...',
      'traced',
      'Evaluating after step 3 ...',
      'Evaluating after step 5 ...',
  ]
  toy.run(tmp_path, config=toy.experiment(eval_steps=3), stage=stage)
  assert capsys.readouterr().out.splitlines() == [
      'Resuming after step 5 of 5.',
      'Evaluating after step 5 ...',
  ]
