"""The discriminator's part of a step of stage 1."""

import jax
import jax.numpy as jnp
import optax

from rq_jax import losses


def generator_loss(task, state, recons: jax.Array):
  """What the RQ-VAE pays for being found out, and the new statistics."""
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


def update(task, state, stats, images, recons, step):
  """One step on reconstructions and images; none before it is to start.

  Args:
    task: A `stage1.Task` with a discriminator.
    state: The `stage1.State` to advance.
    stats: Statistics after `generator_loss`.
    images: float32[B, S, S, 3].
    recons: Of the same shape.
    step: Number of the step.

  Returns:
    The state with a moved discriminator, and metrics.
  """
  kinds = {
      'hinge': losses.hinge_discriminator,
      'vanilla': losses.vanilla_discriminator,
  }

  def disc_loss(params):
    # One after the other: BatchNorm never mixes what is fake with what is real.
    fake, after_fake = _discriminate(task, params, stats, recons)
    real, after_real = _discriminate(task, params, after_fake, images)
    loss = kinds[task.loss['discriminator']](real, fake)
    return task.loss['adversarial_weight'] * loss, after_real

  (loss, new_stats), grads = jax.value_and_grad(disc_loss, has_aux=True)(
      state.disc_params
  )
  updates, opt_state = task.disc_optimizer.update(
      grads, state.disc_opt_state, state.disc_params
  )
  moved = state.replace(
      disc_params=optax.apply_updates(state.disc_params, updates),
      disc_stats=new_stats,
      disc_opt_state=opt_state,
  )
  started = step >= task.loss['adversarial_start']
  state = jax.tree.map(
      lambda n, o: o if n is o else jnp.where(started, n, o), moved, state
  )
  return state, {
      'discriminator': loss,
      'discriminator_gradient_norm': optax.tree.norm(grads),
  }
