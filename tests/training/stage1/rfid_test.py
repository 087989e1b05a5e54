"""rFID while a tokenizer is trained, against that of the command `evaluate`."""

import dataclasses
import functools
import shutil

import jax
import numpy as np
import pytest

from rq_jax import config as config_lib
from rq_jax.data.sources import digits
from rq_jax.distributed import partitioning
from rq_jax.evaluation import extractors
from rq_jax.jobs.evaluate import own_images
from rq_jax.jobs.evaluate import request as request_lib
from rq_jax.jobs.evaluate import setup
from rq_jax.training import run
from rq_jax.training import stage1
from rq_jax.training.stage1 import rfid
from tests import folders
from tests import tiny
from tests.jobs.evaluate import fakes
from tests.training import skipped_test

COUNT = 21  # Two batches and five more.
# A few of the 16,128 pixels lie between two levels, and batches of another size
# may round them the other way.
CLOSE = 1e-4
SETTINGS = dict(eval_samples=COUNT, eval_inception='unused', eval_dialect='rq')


def projected(pixels, seen=None):
  """Three weighted sums of all pixels, as 'pool', float32[n, 3]."""
  if seen is not None:
    seen.append(len(pixels))
  weights = np.random.default_rng(0).random((tiny.SIZE**2 * 3, 3)) / 100
  rows = pixels.reshape(len(pixels), -1) @ weights
  return {'pool': rows.astype(np.float32)}


@pytest.fixture(autouse=True)
def network_replaced(monkeypatch):
  monkeypatch.setattr(extractors, 'inception', lambda *_, **__: projected)


def experiment(**train):
  train = dict(steps=2, eval_steps=1, checkpoint_steps=1) | SETTINGS | train
  return tiny.stage1_config(train=train, optimizer=dict(ema_decay=0.9))


@functools.cache
def finished():
  """The folder of a run, and the results of its last evaluation."""
  folder = folders.new() / 'run'
  return folder, run.train(experiment(), folder)


def judged(held_out, mesh=None, state=None, **train):
  """The rFID of an initial state."""
  config = experiment(**train)
  mesh = mesh or tiny.one_device()
  with partitioning.activate(mesh):
    task = tiny.stage1_task(config, mesh)
    state = state or tiny.initial_state(stage1, task)
    return rfid.judge(task, config, mesh, held_out)(state).get('rfid')


def evaluated(folder, out, count):
  """FID that `evaluate --tokenizer --reference=rfid` computes."""
  originals, samples = own_images.reconstructed(str(folder), 'test')
  originals = dataclasses.replace(originals, count=count)
  request = request_lib.Request(
      out=str(out),
      samples=dataclasses.replace(samples, originals=originals),
      reference=originals,
      networks={'inception': 'unused'},
      metrics=['fid'],
      dialects=['rq'],
      compares_pairs=True,
      chunk_size=32,
  )
  found, _ = setup.evaluate(request)
  return fakes.by_metric(found)['fid']['value']


def logged(folder):
  return {
      line['step']: line['eval/rfid']
      for line in tiny.metric_lines(folder)
      if 'eval/rfid' in line
  }


@pytest.mark.slow
def test_the_value_is_that_of_the_command_evaluate(tmp_path, monkeypatch):
  folder, results = finished()
  monkeypatch.setattr(fakes, 'colours', projected)
  with fakes.networks_replaced(monkeypatch):
    expected = evaluated(folder, tmp_path / 'out', COUNT)
  np.testing.assert_allclose(results['eval/rfid'], expected, rtol=CLOSE)
  assert list(logged(folder)) == [1, 2]
  assert logged(folder)[2] == results['eval/rfid'] != logged(folder)[1]


@pytest.mark.slow
def test_a_resumed_run_logs_the_same_value(tmp_path):
  folder, results = finished()
  shutil.copytree(folder, tmp_path / 'run')
  shutil.rmtree(tmp_path / 'run' / 'checkpoints' / '2')
  assert run.train(experiment(), tmp_path / 'run') == results
  assert logged(tmp_path / 'run') == logged(folder)


@pytest.mark.slow
def test_the_value_does_not_depend_on_the_mesh():
  held_out = digits.Digits('test', tiny.SIZE)
  alone = judged(held_out)
  split = judged(held_out, partitioning.make_mesh(dict(data=2, fsdp=4)))
  np.testing.assert_allclose(split, alone, rtol=CLOSE)


@pytest.mark.slow
def test_features_of_the_originals_are_computed_once(monkeypatch):
  seen = []
  extract = functools.partial(projected, seen=seen)
  monkeypatch.setattr(extractors, 'inception', lambda *_, **__: extract)
  config, mesh = experiment(), tiny.one_device()
  task = tiny.stage1_task(config)
  state = tiny.initial_state(stage1, task)
  judge = rfid.judge(task, config, mesh, digits.Digits('test', tiny.SIZE))
  first = judge(state)
  assert sum(seen) == 2 * COUNT
  assert judge(state) == first
  assert sum(seen) == 3 * COUNT
  # Other weights are compared with the same originals.
  darker = jax.tree.map(lambda x: x / 2, state.ema_params)
  found = judge(state.replace(ema_params=darker))
  fresh = rfid.judge(task, config, mesh, digits.Digits('test', tiny.SIZE))
  assert found == fresh(state.replace(ema_params=darker)) != first


@pytest.mark.slow
@pytest.mark.parametrize(
    ('available', 'train'),
    [(21, dict(eval_samples=50)), (359, dict(eval_images=21, eval_samples=50))],
)
def test_no_more_images_are_used_than_there_are_or_are_evaluated(
    available, train
):
  held_out = digits.Digits('test', tiny.SIZE)

  class First:
    """The first of the digits."""

    def __len__(self):
      return available

    def __getitem__(self, index):
      return held_out[index]

  assert judged(First(), **train) == judged(held_out)


@pytest.mark.slow
def test_replacements_of_broken_images_are_left_out(monkeypatch):
  seen = []
  extract = functools.partial(projected, seen=seen)
  monkeypatch.setattr(extractors, 'inception', lambda *_, **__: extract)
  config = tiny.changed(experiment(), data=dict(on_error='skip', max_errors=20))
  # All of the first batch and one more.
  held_out = skipped_test.Damaged('test', broken=[*range(8), 17])
  task = tiny.stage1_task(config)
  state = tiny.initial_state(stage1, task)
  rfid.judge(task, config, tiny.one_device(), held_out)(state)
  assert sum(seen) == 2 * (COUNT - 9)


def test_there_is_no_value_without_samples():
  assert judged(digits.Digits('test', tiny.SIZE), eval_samples=0) is None


@pytest.mark.parametrize(
    ('train', 'message'),
    [
        (
            dict(eval_reference='mine.npz'),
            'eval_reference=mine.npz has no mean',
        ),
        (dict(eval_inception=None), 'needs config.train.eval_inception'),
        (dict(eval_samples=1), 'must be 0 or at least 2'),
    ],
)
def test_settings_that_do_not_fit_are_refused(train, message):
  config = tiny.changed(experiment(**train), model=dict(code_shape=(8, 8, 2)))
  with pytest.raises(ValueError, match=message):
    config_lib.check(config_lib.to_dict(config))


def test_a_single_image_is_refused_before_the_run_starts():
  with pytest.raises(ValueError, match='at least 2 held-out.*eval_images=1'):
    judged(digits.Digits('test', tiny.SIZE), eval_images=1)


def test_a_folder_without_the_network_is_refused_by_its_flag(
    monkeypatch, tmp_path
):
  monkeypatch.undo()
  with pytest.raises(ValueError, match='--config.train.eval_inception=.*none'):
    judged(
        digits.Digits('test', tiny.SIZE), eval_inception=str(tmp_path / 'none')
    )
