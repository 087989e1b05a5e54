"""Two processes with two devices each train like one process."""

import json

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax import config as config_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.data import loader
from rq_jax.data import sources
from rq_jax.distributed import partitioning
from rq_jax.evaluation import frechet
from rq_jax.evaluation import references
from rq_jax.jobs.evaluate import own_images
from rq_jax.sampling import Sampler
from rq_jax.tokenizer import Tokenizer
from rq_jax.training import stage2
from tests import processes
from tests import tiny
from tests.jobs.evaluate import fakes

pytestmark = pytest.mark.process

PROGRAM = """
import json, pathlib, sys
import jax

address, index, text, workdir = sys.argv[1:]
jax.distributed.initialize(address, 2, int(index))
from rq_jax import config
from rq_jax.evaluation import extractors
from rq_jax.training import run
from tests.jobs.evaluate import fakes

extractors.inception = lambda *_, **__: fakes.colours
results = run.train(config.parse(json.loads(text)), workdir)
print(json.dumps(results))
"""


def train(config, workdir):
  """Trains in two processes; returns the results of both."""
  address = f'localhost:{processes.free_port()}'
  text = config_lib.to_json(config)
  started = [
      processes.start(PROGRAM, address, index, text, workdir, devices=2)
      for index in range(2)
  ]
  ended = processes.end(started)
  assert [code for code, _, _ in ended] == [0, 0], ended
  return [json.loads(output.splitlines()[-1]) for _, output, _ in ended]


def step_of_one(config):
  """Metrics of the first step of a run, on one device of this process."""
  tokenizer = tiny.untrained_tokenizer()
  task = stage2.build(
      config, tiny.one_device(), total_steps=1, tokenizer=tokenizer
  )
  batches = loader.train_batches(
      sources.open_source(config.data, 'train'),
      transform=loader.image_transform(config.data, train=True),
      batch_size=config.data.batch_size,
      seed=config.seed,
  )
  batch = next(batches)
  batches.close()

  @jax.jit
  def step(key, batch):
    state = partitioning.unbox(stage2.init_state(task, key))
    return stage2.train_step(task, state, batch)[1]

  return step(jax.random.key(config.seed), batch)


def test_two_processes_take_the_step_that_one_takes(tmp_path):
  tokenizer = tiny.untrained_tokenizer()
  inference_copy.export(
      tmp_path / 'tokenizer', tiny.stage1_config(), tokenizer.variables
  )
  config = tiny.stage2_config(
      tokenizer=str(tmp_path / 'tokenizer'),
      loss=dict(label_dropout=0.25),
      train=dict(steps=1, eval_images=20),
  )
  first, second = train(config, tmp_path / 'run')
  assert first == second
  # Only one of them wrote, and it wrote everything once.
  line, evaluated = tiny.metric_lines(tmp_path / 'run')
  assert evaluated == {'step': 1} | first
  for name, value in step_of_one(config).items():
    # Sums over four devices, in float32.
    np.testing.assert_allclose(
        line[f'train/{name}'], value, rtol=1e-4, err_msg=name
    )
  # One of them wrote a copy of the tokenizer.
  copy = Tokenizer.restore(str(tmp_path / 'run' / 'tokenizer'), verbose=False)
  assert copy.fingerprint == tokenizer.fingerprint
  inference_copy.check_fingerprint(tmp_path / 'run/tokenizer', copy.fingerprint)


def test_two_processes_draw_the_samples_that_one_draws(tmp_path):
  rows = fakes.colours(fakes.images(50))['pool'].astype(np.float64)
  reference = references.Reference(
      mean=rows.mean(axis=0), covariance=np.cov(rows, rowvar=False), count=50
  )
  references.write(tmp_path / 'reference.npz', reference)
  config = tiny.stage2_config(
      tokenizer=str(tiny.finished_run(1)),
      train=dict(
          steps=1,
          eval_samples=10,
          eval_inception='unused',
          eval_reference=str(tmp_path / 'reference.npz'),
          eval_dialect='rq',
      ),
  )
  first, second = train(config, tmp_path / 'run')
  assert first == second
  sampler = Sampler.restore(tmp_path / 'run')
  images = sampler(jax.random.key(0), labels=np.arange(10))
  drawn = fakes.colours(np.asarray(images))['pool'].astype(np.float64)
  # Processes may round a pixel to the next level.
  np.testing.assert_allclose(
      first['eval/fid'], fakes.frechet(drawn, rows), rtol=1e-4
  )


def test_two_processes_count_the_same_broken_images_and_log_one_rfid(tmp_path):
  """Each reads half of a batch; one image in four is broken."""
  images = tmp_path / 'images'
  images.mkdir()
  for i in range(20):
    file = images / f'{i:02d}.png'
    Image.new('RGB', (20, 20), (i, 0, 0)).save(file)
    if i % 5 == 1:
      file.write_bytes(b'')
  config = tiny.stage1_config(
      data=dict(
          source='image_folder',
          path=str(images),
          on_error='skip',
          max_errors=4,
      ),
      train=dict(steps=4, eval_samples=4, eval_inception='unused'),
  )
  first, second = train(config, tmp_path / 'run')
  assert first == second
  # The 4 held-out images fill half of a batch: the second process reads none.
  images, decoded = own_images.reconstructed(str(tmp_path / 'run'), 'test')
  rows = [
      fakes.colours(next(iter(part.read([range(4)]))))['pool']
      for part in (decoded, images)
  ]
  np.testing.assert_allclose(
      first['eval/rfid'], frechet.from_features(*rows), rtol=1e-4
  )
  assert first['eval/skipped'] == 0
  lines = tiny.metric_lines(tmp_path / 'run')
  # 16 images are two steps. Which ones a step sees follows from the seed.
  counts = [line['data/skipped'] for line in lines if 'train/loss' in line]
  assert counts[1:] == [4, 4, 4]
  batches = loader.train_batches(
      sources.open_source(config.data, 'train'),
      batch_size=config.data.batch_size,
      seed=config.seed,
      max_errors=4,
  )
  assert counts[0] == next(batches)['replaced'].sum()
  batches.close()
