"""Stage 1: trains the RQ-VAE, optionally against a patch discriminator.

Section 3.1 of the paper; the adversarial part follows VQ-GAN.
"""

from collections.abc import Mapping
from typing import Any

import flax.core
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from rq_jax.config import RQVAEExperiment
from rq_jax.config import sizes
from rq_jax.models import build as build_lib
from rq_jax.models import lpips
from rq_jax.models import rqvae
from rq_jax.training import optim
from rq_jax.training import update
from rq_jax.training.stage1 import accumulated
from rq_jax.training.stage1 import adversary
from rq_jax.training.stage1 import gradients
from rq_jax.training.stage1 import ordering
from rq_jax.training.stage1 import perceptual as perceptual_lib
from rq_jax.typing import Batch, Metrics, PyTree, Variables


@flax.struct.dataclass
class State:
  """Everything a training step reads and writes; checkpointed as a whole."""

  step: jax.Array  # int32[]
  failed_step: jax.Array  # int32[], the step that was not finite, or -1.
  rng: jax.Array  # Never replaced: each step folds its number in.
  params: PyTree
  codebook: PyTree  # Updated by moving averages, not by gradients.
  opt_state: optax.OptState
  ema_params: PyTree | None
  # Fields of the discriminator; None without one.
  disc_params: PyTree | None
  disc_stats: PyTree | None
  disc_opt_state: optax.OptState | None


@flax.struct.dataclass
class Task:
  """Everything that stays fixed over a run.

  Attributes:
    model: The RQ-VAE.
    discriminator: The discriminator; None to train without one.
    optimizer: Optimizer of the RQ-VAE.
    disc_optimizer: Optimizer of the discriminator.
    schedule: Learning rate by step.
    loss: The section `loss` of the experiment.
    ema_decay: Decay of the averaged parameters; 0 to keep no averages.
    accumulate: Number of pieces that the batch is split into.
    whole_parameters: Whether each device holds all parameters.
    perceptual: The network of the perceptual loss; None to train without it.
    perceptual_variables: Parameters of the perceptual network, which are never
      trained.
  """

  model: rqvae.RQVAE = flax.struct.field(pytree_node=False)
  discriminator: nn.Module | None = flax.struct.field(pytree_node=False)
  optimizer: optax.GradientTransformation = flax.struct.field(pytree_node=False)
  disc_optimizer: optax.GradientTransformation = flax.struct.field(
      pytree_node=False
  )
  schedule: optax.Schedule = flax.struct.field(pytree_node=False)
  loss: Mapping[str, Any] = flax.struct.field(pytree_node=False)
  ema_decay: float = flax.struct.field(pytree_node=False)
  accumulate: int = flax.struct.field(pytree_node=False)
  whole_parameters: bool = flax.struct.field(pytree_node=False)
  perceptual: lpips.LPIPS | None = flax.struct.field(pytree_node=False)
  perceptual_variables: Variables | None


def build(
    config: RQVAEExperiment,
    mesh: jax.sharding.Mesh,
    *,
    total_steps: int,
    perceptual: tuple[lpips.LPIPS, Variables] | None = None,
) -> Task:
  """Builds everything that stays fixed over a run.

  Args:
    config: A checked stage-1 experiment.
    mesh: Mesh of the devices to train on.
    total_steps: Length of the run in steps, for the learning rate.
    perceptual: Network and parameters of the perceptual loss; None to restore
      those at `loss.perceptual_path`, if the loss is used.

  Raises:
    ValueError: If `loss.perceptual_path` is needed and holds no network.
  """
  network, network_variables = None, None
  if config.loss.perceptual_weight > 0:
    if perceptual is None:
      path = config.loss.perceptual_path
      assert path is not None  # `config.check` requires it.
      perceptual = perceptual_lib.restore(path, mesh, dtype=config.model.dtype)
    network, network_variables = perceptual
  adversarial = config.loss.adversarial_weight > 0
  optimizer = optim.make_optimizer(config.optimizer, total_steps)
  return Task(
      model=build_lib.rqvae(config.model),
      discriminator=(
          build_lib.discriminator(config.discriminator) if adversarial else None
      ),
      optimizer=optimizer,
      disc_optimizer=optimizer,
      schedule=optim.make_schedule(config.optimizer, total_steps),
      loss=flax.core.FrozenDict(vars(config.loss)),
      ema_decay=config.optimizer.ema_decay,
      accumulate=config.train.accumulate,
      whole_parameters=mesh.shape['fsdp'] * mesh.shape['model'] == 1,
      perceptual=network,
      perceptual_variables=network_variables,
  )


def init_state(task: Task, rng: jax.Array) -> State:
  """Initial state; parameters are boxed with their logical axes.

  Args:
    task: Everything that stays fixed over the run.
    rng: The key of the whole run.
  """
  rng_model, rng_disc, rng_run = jax.random.split(rng, 3)
  size = sizes.pair(task.model.image_size)
  image = jnp.zeros((1, *size, 3), jnp.float32)
  variables = task.model.init(rng_model, image)
  disc = {}
  if task.discriminator is not None:
    disc = task.discriminator.init(rng_disc, image, train=True)
  return State(
      **update.initial(task, rng_run, variables['params']),
      codebook=variables['codebook'],
      disc_params=disc.get('params'),
      disc_stats=disc.get('batch_stats', {}) if disc else None,
      disc_opt_state=(
          task.disc_optimizer.init(disc['params']) if disc else None
      ),
  )


def train_step(task: Task, state: State, batch: Batch) -> tuple[State, Metrics]:
  """Updates the RQ-VAE on a batch, then the discriminator on its output.

  Args:
    task: Everything that stays fixed over the run.
    state: The state to advance.
    batch: 'image', float32[B, Y, X, 3] in [-1, 1].

  Returns:
    The next state, and scalar metrics of this step.
  """
  images = batch['image']
  rng_codebook, rng_dropout = jax.random.split(
      jax.random.fold_in(state.rng, state.step)
  )
  rngs = {'codebook': rng_codebook, 'dropout': rng_dropout}
  if task.accumulate == 1:
    found = gradients.of_batch(task, state, images, rngs)
  else:
    found = accumulated.of_pieces(task, state, images, rngs)
  moved, metrics = {'codebook': found.codebook}, found.metrics
  must_be_finite = ()
  if task.discriminator is not None:
    disc_moved, disc_metrics = adversary.step(
        task, state, found.disc_stats, images, found.recons
    )
    moved |= disc_moved
    metrics |= disc_metrics
    must_be_finite = tuple(disc_metrics)
  return update.finish(
      task,
      state,
      ordering.as_parameters(task, found.grads),
      metrics,
      moved=moved,
      must_be_finite=must_be_finite,
  )


def inference_variables(state: State) -> dict[str, Any]:
  """Variables of a tokenizer, with averaged parameters if there are any."""
  return {'params': update.averaged(state), 'codebook': state.codebook}
