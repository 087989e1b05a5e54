"""Whole runs of both stages."""

import json

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax import config as config_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.sampling import Sampler
from rq_jax.tokenizer import Tokenizer
from rq_jax.training import run
from tests import tiny

pytestmark = pytest.mark.slow

PICTURES = {
    # Rows and columns of images.
    1: ('reconstructions', 3, 8),
    2: ('samples', 1, 8),
}


@pytest.mark.parametrize('stage', [1, 2])
def test_a_run_leaves_its_settings_metrics_pictures_and_weights(stage):
  folder, config = tiny.finished_run(stage), tiny.run_config(stage)
  assert json.loads((folder / 'config.json').read_text()) == json.loads(
      config_lib.to_json(config)
  )
  assert stored.read_config(folder, stage=stage) == config
  lines = tiny.metric_lines(folder)
  train = [line['step'] for line in lines if 'train/loss' in line]
  held_out = [line['step'] for line in lines if 'eval/loss' in line]
  held_out += [line['step'] for line in lines if 'eval/mse' in line]
  assert (train, held_out) == (list(range(1, 13)), [7, 12])
  name, rows, columns = PICTURES[stage]
  for step in (7, 12):
    with Image.open(folder / 'images' / f'{name}_{step:08d}.png') as picture:
      size = [n * (tiny.SIZE + 2) + 2 for n in (columns, rows)]
      assert list(picture.size) == size
  steps = sorted(int(p.name) for p in (folder / 'checkpoints').iterdir())
  assert steps == [10, 12]


def test_a_finished_tokenizer_reconstructs_as_well_as_its_metrics_say():
  """The restored weights are the averages, which were evaluated."""
  folder = tiny.finished_run(1)
  tokenizer = Tokenizer.restore(str(folder), verbose=False)
  images = tiny.images(tiny.EVALUATED)
  recons = tokenizer.decode(tokenizer.encode(images))
  mse = np.mean((np.asarray(recons) / 127.5 - 1 - images) ** 2)
  lines = tiny.metric_lines(folder)
  (line,) = [x for x in lines if x['step'] == 12 and 'eval/mse' in x]
  # Decoded images are rounded to 1/127.5.
  np.testing.assert_allclose(line['eval/mse'], mse, rtol=1e-3)
  tiny.assert_trees_equal(
      tokenizer.variables['params'], tiny.saved_state(folder)['ema_params']
  )


def test_a_finished_prior_brings_its_tokenizer_along():
  folder = tiny.finished_run(2)
  own = Tokenizer.restore(str(folder / 'tokenizer'), verbose=False)
  given = Tokenizer.restore(str(tiny.finished_run(1)), verbose=False)
  assert own.fingerprint == given.fingerprint
  inference_copy.check_fingerprint(folder / 'tokenizer', given.fingerprint)
  sampler = Sampler.restore(str(folder), verbose=False)
  assert sampler.tokenizer.fingerprint == given.fingerprint
  assert sampler.codes(jax.random.key(0), labels=[3]).shape == (1, 2, 2, 2)


def test_weights_of_another_model_are_named_before_training(tmp_path):
  config = tiny.stage1_config(
      init_from=str(tiny.finished_run(1)), model=dict(channels=16)
  )
  with pytest.raises(ValueError, match='is of another model: .* should be'):
    run.train(config, tmp_path)
  assert not (tmp_path / 'metrics.jsonl').exists()


def test_a_run_starts_from_the_weights_of_another(tmp_path):
  """In stage 1, this includes the codebook and the discriminator."""
  config = tiny.run_config(1)
  config = tiny.changed(config, init_from=str(tiny.finished_run(1)))
  config = tiny.changed(config, train=dict(steps=1))
  run.train(config, tmp_path)
  before = tiny.saved_state(tiny.finished_run(1))
  after = tiny.saved_state(tmp_path)
  assert after['step'] == 1
  # Adam's first step moves parameters by the learning rate, 1e-3, at most.
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1.01e-3),
      [after['params'], after['ema_params']],
      [before['ema_params']] * 2,
  )
  # The discriminator was not initialized again.
  for name in ('disc_params', 'disc_stats'):
    tiny.assert_trees_equal(after[name], before[name])
  counts = [
      np.sum(state['codebook']['quantizer']['shared']['count'])
      for state in (after, before)
  ]
  # 64 codes count 1/100 each; re-drawn codewords add about as much.
  np.testing.assert_allclose(counts[0], 0.99 * counts[1] + 0.64, rtol=0.2)
