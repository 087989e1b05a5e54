"""The discriminator's part of a stage-1 step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rq_jax.models import losses
from rq_jax.training import update
from rq_jax.training.stage1 import ordering
from rq_jax.typing import Metrics, PyTree


def generator_loss(
    task: Any, state: Any, recons: jax.Array
) -> tuple[jax.Array, PyTree]:
  """The generator loss, and the discriminator's statistics after it."""
  logits, stats = _discriminate(
      task, state.disc_params, state.disc_stats, recons
  )
  return losses.generator(logits), stats


def _discriminate(task, params, stats, images):
  logits, mutated = task.discriminator.apply(
      {'params': params, 'batch_stats': stats},
      images,
      train=True,
      mutable=['batch_stats'],
  )
  return logits, mutated.get('batch_stats', {})


def step(
    task: Any, state: Any, stats: PyTree, images: jax.Array, recons: jax.Array
) -> tuple[dict[str, PyTree], Metrics]:
  """Trains the discriminator for one step, from `adversarial_start` on.

  Args:
    task: A `stage1.Task` with a discriminator.
    state: The `stage1.State` before the step.
    stats: The discriminator's statistics after `generator_loss`.
    images: Original images, float32[B, Y, X, 3].
    recons: Their reconstructions, of the same shape.

  Returns:
    New values of the discriminator's fields of the state, and metrics.
  """
  kinds = {
      'hinge': losses.hinge_discriminator,
      'vanilla': losses.vanilla_discriminator,
  }

  def disc_loss(params):
    # In two calls, so that BatchNorm never mixes real and generated images.
    fake, after_fake = _discriminate(task, params, stats, recons)
    real, after_real = _discriminate(task, params, after_fake, images)
    loss = kinds[task.loss['discriminator']](real, fake)
    return task.loss['adversarial_weight'] * loss, after_real

  (loss, new_stats), grads = jax.value_and_grad(disc_loss, has_aux=True)(
      state.disc_params
  )
  params, opt_state = update.descend(
      task.disc_optimizer,
      ordering.as_parameters(task, grads),
      state.disc_opt_state,
      state.disc_params,
  )
  moved = {
      'disc_params': params,
      'disc_stats': new_stats,
      'disc_opt_state': opt_state,
  }
  started = state.step >= task.loss['adversarial_start']
  moved = jax.tree.map(
      lambda new, old: jnp.where(started, new, old),
      moved,
      {name: getattr(state, name) for name in moved},
  )
  return moved, {
      'discriminator': loss,
      'discriminator_gradient_norm': optax.tree.norm(grads),
  }
