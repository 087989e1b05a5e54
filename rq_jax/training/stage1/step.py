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
import numpy as np
import optax

from rq_jax.config import RQVAEExperiment
from rq_jax.config import sizes
from rq_jax.models import build as build_lib
from rq_jax.models import codebook
from rq_jax.models import losses
from rq_jax.models import lpips
from rq_jax.models import rqvae
from rq_jax.training import optim
from rq_jax.training import update
from rq_jax.training.stage1 import adversary
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
  recons, books, disc_stats, grads, metrics = _gradients(
      task, state, images, jax.random.fold_in(state.rng, state.step)
  )
  moved, must_be_finite = {'codebook': books}, ()
  if task.discriminator is not None:
    disc_moved, disc_metrics = adversary.step(
        task, state, disc_stats, images, recons
    )
    moved |= disc_moved
    metrics |= disc_metrics
    must_be_finite = tuple(disc_metrics)
  return update.finish(
      task, state, grads, metrics, moved=moved, must_be_finite=must_be_finite
  )


def _gradients(task: Task, state: State, images, rng):
  """Losses of the RQ-VAE and their gradients, pulled back part by part.

  The losses on images are differentiated once, with respect to the images.
  Both gradients are pulled back through only the last layer, which gives the
  adaptive weight, and then together through the rest.

  Returns:
    Reconstructions, the moved codebook, the discriminator's statistics, the
    gradients, and metrics.
  """

  def last_layer(params, hidden):
    return task.model.apply(
        {'params': {'to_rgb': params}}, hidden, method='last_layer'
    )

  (hidden, commitment), pull_hidden, (quantized, books) = jax.vjp(
      lambda params: _hidden(task, params, state.codebook, images, rng),
      state.params,
      has_aux=True,
  )
  recons, pull_last = jax.vjp(last_layer, state.params['to_rgb'], hidden)
  (image_loss, parts), image_grad = jax.value_and_grad(
      lambda x: _image_loss(task, images, x), has_aux=True
  )(recons)
  pulled = pull_last(image_grad)
  loss = image_loss + task.loss['commitment_weight'] * commitment
  metrics = {
      **parts,
      'commitment': commitment,
      'quantization_error': quantized.error,
      **_codebook_metrics(task.model, quantized.codes),
  }
  disc_stats = state.disc_stats
  if task.discriminator is not None:
    (adversarial, disc_stats), adversarial_grad = jax.value_and_grad(
        lambda x: adversary.generator_loss(task, state, x), has_aux=True
    )(recons)
    pulled_adversarial = pull_last(adversarial_grad)
    weight = losses.adaptive_weight(
        pulled[0]['conv']['kernel'], pulled_adversarial[0]['conv']['kernel']
    )
    started = state.step >= task.loss['adversarial_start']
    weight = jnp.where(started, weight * task.loss['adversarial_weight'], 0.0)
    pulled = jax.tree.map(
        lambda a, b: a + weight.astype(b.dtype) * b, pulled, pulled_adversarial
    )
    loss = loss + weight * adversarial
    metrics |= {'adversarial': adversarial, 'adversarial_weight': weight}
  rgb_grad, hidden_grad = pulled
  (grads,) = pull_hidden(
      (hidden_grad, jnp.asarray(task.loss['commitment_weight'], jnp.float32))
  )
  # `_hidden` stops before the last layer: its gradients there are zero.
  grads = {**grads, 'to_rgb': rgb_grad}
  return recons, books, disc_stats, grads, metrics | {'loss': loss}


def _hidden(task: Task, params, books, images, rng):
  """All but the last layer: (hidden, commitment loss), (quantized, books)."""
  rng_codebook, rng_dropout = jax.random.split(rng)
  (hidden, quantized), mutated = task.model.apply(
      {'params': params, 'codebook': books},
      images,
      train=True,
      rngs={'codebook': rng_codebook, 'dropout': rng_dropout},
      mutable=['codebook'],
      method='hidden',
  )
  outputs = (hidden, quantized.commitment_loss)
  return outputs, (quantized, mutated['codebook'])


def _image_loss(task: Task, images, recons) -> tuple[jax.Array, Metrics]:
  """Loss by pixels and by perceptual distance: the sum, and both parts."""
  loss = losses.reconstruction(images, recons, task.loss['reconstruction'])
  parts = {'reconstruction': loss}
  if task.perceptual is not None:
    assert task.perceptual_variables is not None
    distances = task.perceptual.apply(task.perceptual_variables, images, recons)
    parts['perceptual'] = jnp.mean(distances)
    loss = loss + task.loss['perceptual_weight'] * parts['perceptual']
  return loss, parts


def _codebook_metrics(model: rqvae.RQVAE, codes: jax.Array) -> Metrics:
  shares = code_shares(model, codes)
  return {
      'codebook/used': jnp.mean((shares > 0).astype(jnp.float32)),
      'codebook/perplexity': jnp.mean(jax.vmap(codebook.perplexity)(shares)),
  }


def code_shares(model: rqvae.RQVAE, codes: jax.Array) -> jax.Array:
  """Share of each codeword, in the shared codebook or by depth: [1 or D, K]."""
  size = int(np.max(model.codebook_size))
  if model.shared_codebook:
    return codebook.usage(codes, size)[None]
  by_depth = jnp.moveaxis(codes, -1, 0)
  return jax.vmap(lambda c: codebook.usage(c, size))(by_depth)


def inference_variables(state: State) -> dict[str, Any]:
  """Variables of a tokenizer, with averaged parameters if there are any."""
  return {'params': update.averaged(state), 'codebook': state.codebook}
