"""Two steps of stage 1, and their losses through the whole model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.training import stage1
from tests import tiny

# Both sides sum thousands of terms in float32, in different orders.
CLOSE = 2e-4

CASES = {
    'plain': dict(
        model=dict(dropout=0.1),
        loss=dict(reconstruction='l1', commitment_weight=0.4),
    ),
    'batch': dict(
        loss=dict(adversarial_weight=0.5, adversarial_start=1),
        optimizer=dict(ema_decay=0.9),
    ),
    'act': dict(
        model=dict(shared_codebook=False, codebook_size=(6, tiny.WORDS)),
        loss=dict(
            perceptual_weight=100.0,  # So large that it has an effect.
            perceptual_path='unused',
            adversarial_weight=0.5,
            adversarial_start=1,
            discriminator='vanilla',
        ),
        discriminator=dict(norm='act'),
    ),
}
ADVERSARIAL = ['batch', 'act']


@functools.cache
def task_of(case):
  return tiny.stage1_task(
      tiny.stage1_config(**CASES[case]), perceptual=tiny.perceptual_stand_in()
  )


train_step = jax.jit(stage1.train_step)


@functools.cache
def run(case):
  """The states before and after two steps, and the metrics of both."""
  batch = {'image': tiny.images()}
  states = [tiny.initial_state(stage1, task_of(case))]
  metrics = []
  for _ in range(2):
    state, values = train_step(task_of(case), states[-1], batch)
    states.append(state)
    metrics.append(jax.tree.map(np.asarray, values))
  return states, metrics


def naive_losses(task, state, images, params):
  """Loss on images, commitment and generator loss, through all layers."""
  rng_codebook, rng_dropout = jax.random.split(
      jax.random.fold_in(state.rng, state.step)
  )
  output, mutated = task.model.apply(
      {'params': params, 'codebook': state.codebook},
      images,
      train=True,
      rngs={'codebook': rng_codebook, 'dropout': rng_dropout},
      mutable=['codebook'],
  )
  error = output.images - images
  if task.loss['reconstruction'] == 'l1':
    image_loss = jnp.mean(jnp.abs(error))
  else:
    image_loss = jnp.mean(error**2)
  if task.perceptual:
    image_loss += task.loss['perceptual_weight'] * jnp.mean(
        task.perceptual.apply(task.perceptual_variables, images, output.images)
    )
  generator = jnp.zeros(())
  if task.discriminator:
    logits, _ = discriminate(
        task, state.disc_params, state.disc_stats, output.images
    )
    generator = -jnp.mean(logits)
  parts = jnp.stack([image_loss, output.quantized.commitment_loss, generator])
  return parts, (parts, output, mutated['codebook'])


def discriminate(task, params, stats, images):
  logits, mutated = task.discriminator.apply(
      {'params': params, 'batch_stats': stats},
      images,
      train=True,
      mutable=['batch_stats'],
  )
  return logits, mutated['batch_stats']


def naive_discriminator(task, state, images, recons, params):
  """Statistics move three times: for the generator, for fakes, for images.

  Returns the loss, and the statistics after all three.
  """
  _, stats = discriminate(task, params, state.disc_stats, recons)
  fake, stats = discriminate(task, params, stats, recons)
  real, stats = discriminate(task, params, stats, images)
  if task.loss['discriminator'] == 'hinge':
    costs = jnp.maximum(0, 1 - real), jnp.maximum(0, 1 + fake)
  else:
    costs = -jax.nn.log_sigmoid(real), -jax.nn.log_sigmoid(-fake)
  mean = (jnp.mean(costs[0]) + jnp.mean(costs[1])) / 2
  return task.loss['adversarial_weight'] * mean, stats


@jax.jit
def naive_gradients(task, state, images):
  grads, aux = jax.jacrev(
      functools.partial(naive_losses, task, state, images), has_aux=True
  )(state.params)
  disc = None
  if task.discriminator:
    disc = jax.value_and_grad(
        functools.partial(
            naive_discriminator, task, state, images, aux[1].images
        ),
        has_aux=True,
    )(state.disc_params)
  return grads, aux, disc


@functools.cache
def naive(case, step):
  """Gradients [3, ...] and outputs of the losses, then the discriminator's."""
  states, _ = run(case)
  return naive_gradients(task_of(case), states[step], tiny.images())


def naive_weight(case):
  """Weight of the generator loss, from two backward passes through all."""
  grads, _, _ = naive(case, 1)
  kernel = np.asarray(grads['to_rgb']['conv']['kernel'], np.float64)
  norms = [np.linalg.norm(kernel[i]) for i in (0, 2)]
  ratio = np.clip(norms[0] / (norms[1] + 1e-4), 0, 1e4)
  return task_of(case).loss['adversarial_weight'] * ratio


def weights_of(case, step):
  """Weights of the three losses in a step."""
  adversarial = naive_weight(case) if case in ADVERSARIAL and step else 0.0
  return np.array([1, task_of(case).loss['commitment_weight'], adversarial])
