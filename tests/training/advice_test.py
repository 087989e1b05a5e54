"""Warnings: when they appear, and what they say."""

import pytest

from rq_jax.training import advice
from rq_jax.training.stage1 import evaluation as stage1_evaluation
from rq_jax.training.stage2 import evaluation as stage2_evaluation
from tests import tiny


def test_fewer_images_than_a_batch():
  assert advice.batch(64, 64) is None
  sentence = advice.batch(63, 64)
  assert '63 training images, fewer than a batch of 64' in sentence
  assert '--config.data.batch_size' in sentence


def test_few_codewords_in_use():
  assert advice.codebook_use(0.1, codes=10_000, words=100) is None
  sentence = advice.codebook_use(0.05, codes=10_000, words=100)
  assert sentence.startswith('Only 5.0% of the 100 codewords are in use')


def test_few_codes_do_not_show_which_codewords_are_used():
  assert advice.codebook_use(0.05, codes=999, words=100) is None


def test_a_held_out_loss_far_above_the_training_loss():
  assert advice.held_out(1.0, 2.0) is None
  assert advice.held_out(0.0, 1.0) is None  # There is no ratio.
  sentence = advice.held_out(0.5, 1.5)
  assert '1.5, is 3.0 times the loss on training images, 0.5' in sentence


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_losses_that_are_not_finite_are_not_compared(value):
  assert advice.held_out(value, 2.0) is None
  assert advice.held_out(1.0, value) is None


@pytest.mark.parametrize(
    ('perplexity', 'words'),
    [
        ([1.0, 1.05], 'nearly one-hot'),
        ([1.0, 3.0], None),
        ([10.0, 70.0], None),
        ([51.0, 70.0], 'nearly uniform'),
    ],
)
def test_sharpness_of_targets(perplexity, words):
  sentence = advice.targets(perplexity, [100, 100])
  if words is None:
    assert sentence is None
  else:
    assert words in sentence
    assert "--config.loss.temperature='auto'" in sentence


def test_an_evaluation_of_stage_1():
  config = tiny.stage1_config()
  results = {'eval/codebook_used': 0.05, 'eval/mse': 0.5}
  training = {'train/reconstruction': 0.1, 'train/loss': 0.4}
  found = stage1_evaluation.advise(config, training, results, 100)
  assert found.keys() == {'codebook', 'held out'}
  assert 'Only 5.0% of the' in found['codebook']
  assert '0.5, is 5.0 times' in found['held out']
  config = tiny.stage1_config(loss=dict(reconstruction='l1'))
  found = stage1_evaluation.advise(config, training, results, 100)
  assert found.keys() == {'codebook'}


def test_an_evaluation_of_stage_2():
  config = tiny.stage2_config()
  results, training = {'eval/loss': 3.0}, {'train/loss': 1.0}
  found = stage2_evaluation.advise(config, training, results, 100)
  assert '3, is 3.0 times' in found['held out']
  assert not stage2_evaluation.advise(config, {}, results, 100)


def test_each_kind_of_warning_is_printed_once(capsys):
  warnings = advice.Advice()
  warnings.tell({'codebook': 'Few are used.', 'held out': None})
  warnings.tell({'codebook': 'Few are used.', 'held out': 'It is far above.'})
  assert capsys.readouterr().out.splitlines() == [
      'Warning: Few are used.',
      'Warning: It is far above.',
  ]


def test_metrics_are_averaged_since_the_last_evaluation():
  warnings = advice.Advice()
  assert warnings.recent() == {}
  for loss in (1.0, 4.0):
    warnings.add({'train/loss': loss})
  assert warnings.recent() == {'train/loss': 2.5}
  warnings.add({'train/loss': 7.0})
  assert warnings.recent() == {'train/loss': 7.0}


def test_a_warning_is_told(capsys):
  advice.tell(None)
  advice.tell('Too few images.')
  assert capsys.readouterr().out == 'Warning: Too few images.\n'
