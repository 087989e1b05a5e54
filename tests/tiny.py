"""Tiny experiments on the digits, fast enough for tests."""

import functools
import json
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from rq_jax import config
from rq_jax import tokenizer
from rq_jax.checkpoints import inference_copy
from rq_jax.data.sources import digits
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.training import run
from rq_jax.training import stage1
from rq_jax.training import stage2
from rq_jax.training.stage2 import codes as codes_lib
from tests import folders
from tests import official
from tests import random_numbers

SIZE = 16  # Pixels.
BATCH = 8
CODE_SHAPE = (2, 2, 2)
WORDS = 12  # No other dimension has this size.
EVALUATED = 64  # Held-out images of a whole run.


def merged(base, changes):
  """Merges nested dictionaries; `changes` wins."""
  return base | {
      name: merged(base.get(name, {}), value)
      if isinstance(value, dict)
      else value
      for name, value in changes.items()
  }


def stage1_config(**changes):
  """A stage-1 experiment, whose features are folded; sections are dicts."""
  base = dict(
      stage=1,
      data=dict(source='digits', image_size=SIZE, batch_size=BATCH),
      model=dict(
          image_size=SIZE,
          channels=8,
          channel_multipliers=(1, 2),
          res_blocks=0,  # Only in the decoder's levels and in the middle.
          attention_resolutions=(),
          z_channels=8,
          embed_dim=4,
          code_shape=CODE_SHAPE,
          codebook_size=WORDS,
          norm_groups=4,
      ),
      discriminator=dict(channels=8, layers=1),
      optimizer=dict(peak_lr=1e-3),
      train=dict(steps=4, log_steps=1, eval_steps=1000, checkpoint_steps=2),
  )
  return config.parse(merged(base, changes))


def stage2_config(**changes):
  """A stage-2 experiment; sections are given as dicts."""
  base = dict(
      stage=2,
      tokenizer='unused',
      data=dict(source='digits', image_size=SIZE, batch_size=BATCH),
      model=dict(
          code_shape=CODE_SHAPE,
          codebook_size=WORDS,
          embed_dim=64,  # A patch of 4x4 features with 4 channels.
          width=16,
          heads=2,
          spatial_layers=1,
          depth_layers=1,
          num_classes=10,
          null_class=True,
      ),
      loss=dict(temperature=20.0),  # As large as the squared distances.
      optimizer=dict(peak_lr=1e-3),
      train=dict(steps=4, log_steps=1, eval_steps=1000, checkpoint_steps=2),
  )
  return config.parse(merged(base, changes))


def changed(experiment, **changes):
  """An experiment with some fields changed; sections are given as dicts."""
  return config.parse(merged(config.to_dict(experiment), changes))


def one_device():
  """A mesh of a single device."""
  return partitioning.make_mesh({}, devices=jax.devices()[:1])


@functools.cache
def images(count=BATCH):
  """The first held-out digits, float32[count, Y, X, 3]."""
  source = digits.Digits('test', SIZE)
  pixels = np.stack([source[i]['image'] for i in range(count)])
  return jnp.asarray(pixels / np.float32(127.5) - 1)


@functools.cache
def untrained_tokenizer(seed=0):
  """An initialised tokenizer, whose codewords are as large as its features."""
  untrained = stage1_config()
  model = build.rqvae(untrained.model)

  @jax.jit
  def init(key):
    return partitioning.unbox(model.init(key, jnp.zeros((1, SIZE, SIZE, 3))))

  return tokenizer.Tokenizer(
      model=model, variables=init(random_numbers.key(seed))
  )


@functools.cache
def perceptual_folder():
  """The folder of a perceptual network with random weights."""
  folder = str(folders.new())
  params = official.lpips_params(official.drawn_weights('lpips'))
  inference_copy.export(folder, None, {'params': params})
  return folder


class PerceptualStandIn(nn.Module):
  """A network with the interface of LPIPS, and much faster."""

  @nn.compact
  def __call__(self, images, others):
    conv = nn.Conv(16, (3, 3))
    features = [nn.relu(conv(x)) for x in (images, others)]
    return jnp.mean(jnp.square(features[0] - features[1]), axis=(1, 2, 3))


@functools.cache
def perceptual_stand_in():
  """The stand-in and its variables."""
  network = PerceptualStandIn()
  variables = network.init(jax.random.key(5), images(1), images(1))
  return network, jax.device_put(
      variables, partitioning.replicated(one_device())
  )


def record_gradients():
  """An optimizer that keeps the last gradients in its state."""
  return optax.GradientTransformation(
      lambda params: jax.tree.map(jnp.zeros_like, params),
      lambda updates, state, params=None: (updates, updates),
  )


def stage1_task(checked, mesh=None, **networks):
  """A task whose optimizer states are (gradients, state of Adam)."""
  task = stage1.build(
      checked, mesh or one_device(), total_steps=checked.train.steps, **networks
  )
  return task.replace(
      optimizer=optax.chain(record_gradients(), task.optimizer),
      disc_optimizer=optax.chain(record_gradients(), task.disc_optimizer),
  )


def stage2_task(checked, mesh=None):
  """A task whose optimizer state is (gradients, state of Adam)."""
  task = stage2.build(
      checked,
      mesh or one_device(),
      total_steps=checked.train.steps,
      tokenizer=untrained_tokenizer(),
  )
  return task.replace(optimizer=optax.chain(record_gradients(), task.optimizer))


def draw_codes(task, batch, key):
  """Draws the codes of a whole batch of stage 2, and returns residuals, too."""
  first = batch['features'] if 'features' in batch else batch['image']
  numbers = codes_lib.uniforms(task, len(first), key)
  return codes_lib.of_batch(task, batch, numbers)


def initial_state(stage, task):
  """The initial, unboxed state of a stage, `stage1` or `stage2`."""

  @jax.jit
  def init(key):
    return partitioning.unbox(stage.init_state(task, key))

  # The run itself uses the usual generator.
  state = init(random_numbers.key(0))
  return state.replace(rng=jax.random.key(1))


def assert_trees_close(actual, desired, tolerance):
  """Compares leaf by leaf, relative to the largest entry of each leaf."""

  def compare(path, a, b):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(
        a,
        b,
        rtol=0,
        atol=tolerance * max(1e-3, np.max(np.abs(b), initial=0)),
        err_msg=jax.tree_util.keystr(path),
    )

  jax.tree_util.tree_map_with_path(compare, actual, desired)


def assert_trees_equal(actual, desired):
  """Compares leaf by leaf, bit by bit; keys by their data."""

  def compare(path, a, b):
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    np.testing.assert_array_equal(
        np.asarray(a), np.asarray(b), err_msg=jax.tree_util.keystr(path)
    )

  jax.tree_util.tree_map_with_path(compare, actual, desired)


def all_differ(a, b):
  """Whether every leaf differs between two trees."""
  return not any(
      np.array_equal(x, y)
      for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
  )


def run_config(stage, tokenizer=None):
  """An experiment of a whole run: a GAN, averages and restarted codewords.

  Stage 2 uses the given tokenizer, or by default that of `finished_run(1)`.
  """
  train = dict(steps=12, log_steps=1, eval_steps=7, checkpoint_steps=2)
  train |= dict(eval_images=EVALUATED)
  optimizer = dict(ema_decay=0.9)
  if stage == 1:
    return stage1_config(
        loss=dict(adversarial_weight=0.5, adversarial_start=3),
        optimizer=optimizer,
        train=train,
    )
  return stage2_config(
      tokenizer=tokenizer or str(finished_run(1)),
      loss=dict(label_dropout=0.25),
      optimizer=optimizer,
      train=train,
  )


@functools.cache
def finished_run(stage):
  """The folder of an undisturbed run of `run_config`."""
  return folders.made_once(
      f'finished_run_{stage}',
      lambda folder: run.train(run_config(stage), folder),
  )


def saved_state(workdir, step=None):
  """All leaves of a checkpoint as stored, by default of the newest."""
  checkpoints = pathlib.Path(workdir) / 'checkpoints'
  newest = max(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
  folder = checkpoints / str(newest if step is None else step) / 'state'
  checkpointer = ocp.PyTreeCheckpointer()
  arguments = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
      checkpointer.metadata(folder).item_metadata.tree,
  )
  return checkpointer.restore(folder, restore_args=arguments)


def metric_lines(workdir):
  """Lines of metrics.jsonl, without values that depend on the clock.

  Lines that only account for time are left out.
  """
  text = (pathlib.Path(workdir) / 'metrics.jsonl').read_text()
  clocks = ('time', 'speed/images_per_second')
  lines = [
      {
          name: x
          for name, x in json.loads(line).items()
          if name not in clocks and not name.startswith(('time/', 'run/'))
      }
      for line in text.splitlines()
  ]
  return [line for line in lines if line.keys() != {'step'}]
