"""Checkpoints to keep must exist, and metrics to compare must be logged."""

import pytest

from rq_jax import config
from rq_jax.config import retention_rules
from rq_jax.evaluation import dialects
from tests import tiny

STAGES = {1: 'rqvae', 2: 'rqtransformer'}


@pytest.mark.slow
@pytest.mark.parametrize('stage', [1, 2])
def test_the_names_are_those_that_a_run_logs(stage):
  lines = tiny.metric_lines(tiny.finished_run(stage))
  logged = {n for line in lines for n in line if n.startswith('eval/')}
  assert set(retention_rules.evaluated(tiny.run_config(stage))) == logged


def refused(stage, **train):
  raw = config.to_dict(
      config.load(f'configs/digits/{STAGES[stage]}.py', with_data=False)
  )
  raw['train'] |= train
  with pytest.raises(ValueError) as error:
    config.check(raw, with_data=False)
  return str(error.value)


def test_an_unknown_metric_is_refused_with_those_of_the_run():
  assert refused(1, keep_best='eval/fid') == (
      "config.train.keep_best='eval/fid' must be a metric that this run"
      ' evaluates: eval/mse, eval/psnr_depth1, eval/psnr_depth2,'
      ' eval/psnr_depth3, eval/psnr_depth4, eval/quantization_error,'
      ' eval/codebook_perplexity, eval/codebook_used.'
      ' Change --config.train.keep_best.'
  )
  assert 'eval/loss, eval/loss_depth1' in refused(2, keep_best='eval/mse')


def test_checkpoints_to_keep_must_be_saved():
  text = refused(1, checkpoint_steps=300, keep_every=1000)
  assert 'keep_every=1000 must be a multiple of' in text
  assert '--config.train.keep_every or --config.train.checkpoint_steps' in text


def test_better_is_lower_except_where_more_is_better():
  found = retention_rules.evaluated(tiny.run_config(1))
  assert {name for name, higher in found.items() if higher} == {
      'eval/psnr_depth1',
      'eval/psnr_depth2',
      'eval/codebook_perplexity',
      'eval/codebook_used',
  }
  found = retention_rules.evaluated(
      tiny.changed(
          tiny.run_config(2, tokenizer='runs/rqvae'),
          train=dict(eval_samples=10, eval_inception='a', eval_reference='b'),
      )
  )
  assert found['eval/fid'] is False and found['eval/is'] is True
  assert found['eval/accuracy_depth2'] and not found['eval/loss_depth2']


def test_stage_1_may_keep_the_best_rfid():
  images = dict(eval_samples=10, eval_inception='a')
  config_of_best = tiny.changed(
      tiny.run_config(1), train=images | dict(keep_best='eval/rfid')
  )
  assert retention_rules.evaluated(config_of_best)['eval/rfid'] is False


def test_a_perceptual_loss_adds_its_metric():
  raw = config.to_dict(tiny.run_config(1))
  raw['loss']['perceptual_weight'] = 1.0
  found = retention_rules.evaluated(config.parse(raw))
  assert found['eval/perceptual'] is False


@pytest.mark.parametrize('name', dialects.DIALECTS)
def test_dialects_with_an_inception_score_are_known(name):
  settings = dialects.find(name).inception_score
  needs = None if settings is None else settings.splits or 1
  assert retention_rules.INCEPTION_SCORE_NEEDS.get(name) == needs
