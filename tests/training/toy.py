"""A stage so small that tests compute all of it themselves."""

import functools

import flax
import jax
import jax.numpy as jnp

from rq_jax.data import loader
from rq_jax.data.sources import digits
from rq_jax.distributed import partitioning
from rq_jax.training import loop
from rq_jax.training import stages
from rq_jax.training import time_accounts
from rq_jax.training import update
from tests import folders
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
  breaks_at: int | tuple[int, ...] = flax.struct.field(
      pytree_node=False, default=-1
  )
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
  """Adds the mean of the images, and noise that depends on the step."""
  noise = jax.random.normal(jax.random.fold_in(state.rng, state.step), (4,))
  change = jnp.mean(batch['image']) + noise
  broken = jnp.isin(state.step, jnp.array(task.breaks_at))
  change = jnp.where(broken, jnp.nan, change)
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


STAGE = stages.Stage(
    init_state=init_state,
    train_step=train_step,
    eval_step=eval_step,
    summarize=summarize,
    advise=lambda *_: {},
    preview=preview,
    weights=('params',),
)


def experiment(**train):
  # A large batch makes evaluations short; it does not divide 359.
  return tiny.stage1_config(
      data=dict(batch_size=64), train=dict(checkpoint_steps=2) | train
  )


def run(
    workdir,
    task=None,
    *,
    steps=STEPS,
    config=None,
    stage=STAGE,
    splits=None,
    **watching,
):
  return loop.run(
      stage,
      task or Task(),
      config or experiment(),
      partitioning.make_mesh({'data': -1}),
      workdir,
      splits=splits or digits_splits(),
      total_steps=steps,
      **({'accounts': time_accounts.Accounts()} | watching),
  )


@functools.cache
def digits_splits():
  return stages.Splits(
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


@functools.cache
def finished():
  """The folder of an undisturbed run, and the results of that run."""
  folder = folders.new()
  return folder, run(folder, config=experiment(eval_steps=3))


def train_lines(workdir):
  return [line for line in tiny.metric_lines(workdir) if 'train/loss' in line]
