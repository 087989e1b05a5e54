"""FID of images that are drawn while a model is trained."""

import jax
import numpy as np
import pytest

from rq_jax import config as config_lib
from rq_jax import tokenizer
from rq_jax.distributed import partitioning
from rq_jax.evaluation import extractors
from rq_jax.evaluation import references
from rq_jax.sampling import Sampler
from rq_jax.training import run
from rq_jax.training import stage2
from rq_jax.training.stage2 import samples
from tests import tiny
from tests.jobs.evaluate import fakes

COUNT = 70  # More than are drawn together.


@pytest.fixture
def experiment(tmp_path, monkeypatch):
  """Settings of a run with samples, and the network replaced by colours."""
  monkeypatch.setattr(extractors, 'inception', lambda *_, **__: fakes.colours)
  rows = fakes.colours(fakes.images(50))['pool'].astype(np.float64)
  reference = references.Reference(
      mean=rows.mean(axis=0), covariance=np.cov(rows, rowvar=False), count=50
  )
  references.write(tmp_path / 'reference.npz', reference)
  return (
      dict(
          eval_samples=COUNT,
          eval_inception='unused',
          eval_reference=str(tmp_path / 'reference.npz'),
          eval_dialect='rq',
      ),
      rows,
  )


def test_samples_are_those_of_a_sampler_with_a_fixed_key(experiment):
  settings, rows = experiment
  checked = tiny.stage2_config(train=settings)
  task = tiny.stage2_task(checked)
  state = tiny.initial_state(stage2, task)
  found = samples.judge(task, checked, tiny.one_device())(state)
  sampler = Sampler(
      prior=task.model,
      prior_variables=stage2.inference_variables(state),
      tokenizer=tiny.untrained_tokenizer(),
  )
  images = sampler(jax.random.key(0), labels=np.arange(COUNT) % 10)
  features = fakes.colours(np.asarray(images))
  expected = fakes.frechet(features['pool'].astype(np.float64), rows)
  np.testing.assert_allclose(found['fid'], expected, rtol=1e-6)
  assert found['is'] > 1


def test_devices_share_the_draws_and_agree_with_one(experiment, monkeypatch):
  settings, _ = experiment
  checked = tiny.stage2_config(train=settings | dict(eval_samples=12))
  task = tiny.stage2_task(checked)
  state = tiny.initial_state(stage2, task)
  drawn = []
  decode = tokenizer.decode_known
  monkeypatch.setattr(
      tokenizer, 'decode_known', lambda t, x: drawn.append(x) or decode(t, x)
  )
  mesh = partitioning.make_mesh(dict(data=4, fsdp=2))
  found = [samples.judge(task, checked, tiny.one_device())(state)]
  task, state = jax.device_put((task, state), partitioning.replicated(mesh))
  found.append(samples.judge(task, checked, mesh)(state))
  alone, shared = drawn
  assert shared.addressable_shards[0].data.shape[0] == len(shared) / 8 == 2
  np.testing.assert_array_equal(shared[:12], alone)
  np.testing.assert_allclose(found[1]['fid'], found[0]['fid'], rtol=1e-6)


@pytest.mark.slow
def test_a_run_logs_them(experiment, tmp_path):
  settings, _ = experiment
  settings |= dict(steps=2, eval_steps=1, eval_images=8)
  checked = tiny.stage2_config(
      tokenizer=str(tiny.finished_run(1)), train=settings
  )
  run.train(checked, tmp_path / 'run')
  lines = tiny.metric_lines(tmp_path / 'run')
  assert [line['step'] for line in lines if 'eval/fid' in line] == [1, 2]
  assert all('eval/is' in line for line in lines if 'eval/fid' in line)


@pytest.mark.parametrize('name', ['eval_inception', 'eval_reference'])
def test_samples_need_a_network_and_statistics(name, experiment):
  settings, _ = experiment
  checked = tiny.stage2_config(train=settings | {name: None})
  with pytest.raises(ValueError, match=f'needs config.train.{name}'):
    config_lib.check(config_lib.to_dict(checked))


def test_a_single_sample_is_refused(experiment):
  settings, _ = experiment
  checked = tiny.stage2_config(train=settings | dict(eval_samples=1))
  with pytest.raises(ValueError, match='eval_samples=1 must be 0 or at least'):
    config_lib.check(config_lib.to_dict(checked))


def test_images_without_statistics_are_refused(experiment, tmp_path):
  settings, _ = experiment
  settings['eval_reference'] = fakes.write(tmp_path / 'images.npz', 4)
  checked = tiny.stage2_config(train=settings)
  task = tiny.stage2_task(checked)
  with pytest.raises(ValueError, match='no statistics.*--save_reference'):
    samples.judge(task, checked, tiny.one_device())
