"""Gradients of a large batch of stage 1, computed from pieces of the batch.

What is no mean over examples is computed from the whole batch: the movement of
the codebook and its metrics from all features, and the discriminator's part,
with the statistics of BatchNorm, from all reconstructions.
"""

from collections.abc import Mapping
from typing import Any

import jax

from rq_jax.training import accumulation
from rq_jax.training.stage1 import adversary
from rq_jax.training.stage1 import gradients
from rq_jax.typing import Metrics, PyTree


def of_pieces(
    task: Any, state: Any, images: jax.Array, rngs: Mapping[str, jax.Array]
) -> gradients.Gradients:
  """Computes the gradients of a batch piece by piece.

  For the arguments, see `gradients.of_batch`. The results are those of that
  function, except that each piece has its own dropout masks.
  """
  pieces = accumulation.split(images, task.accumulate)
  if task.discriminator is None:
    found = _without_discriminator(task, state, pieces, rngs)
  else:
    found = _with_discriminator(task, state, pieces, rngs)
  books, metrics = _quantized(task, state, found.features, rngs)
  return found._replace(codebook=books, metrics=found.metrics | metrics)


def _without_discriminator(task, state, pieces, rngs) -> gradients.Gradients:
  """One pass forward and backward."""

  def of_piece(images, key):
    found = gradients.of_batch(task, state, images, {**rngs, 'dropout': key})
    return found.grads, found.metrics, (found.recons, found.features)

  grads, metrics, kept = accumulation.mean_gradients(
      of_piece, state.params, pieces, rngs['dropout']
  )
  recons, features = accumulation.join(kept)
  return gradients.Gradients(
      recons, None, state.disc_stats, grads, metrics, features
  )


def _with_discriminator(task, state, pieces, rngs) -> gradients.Gradients:
  """A pass forward; the discriminator; and a pass forward and backward.

  The first pass keeps the input of the last layer, from which the gradients of
  that layer follow, and thus the adaptive weight.
  """
  rgb_params = state.params['to_rgb']

  def forward(images, key):
    (hidden, commitment), found = gradients.all_but_last(
        task, state.params, state.codebook, images, {**rngs, 'dropout': key}
    )
    recons, pull = _pull_last(task, rgb_params, hidden)
    (image_loss, parts), image_grad = jax.value_and_grad(
        lambda x: gradients.loss_on_images(task, images, x), has_aux=True
    )(recons)
    loss = image_loss + task.loss['commitment_weight'] * commitment
    metrics = {**parts, 'commitment': commitment, 'loss': loss}
    kept = (hidden, recons, image_grad, found.features)
    return pull(image_grad), metrics, kept

  image_rgb_grad, metrics, kept = accumulation.mean_gradients(
      forward, rgb_params, pieces, rngs['dropout']
  )
  hidden, recons, image_grad, features = kept
  recons, features = accumulation.join((recons, features))
  (adversarial, disc_stats), adversarial_grad = jax.value_and_grad(
      lambda x: adversary.generator_loss(task, state, x), has_aux=True
  )(recons)
  # Of the mean over a piece, as `image_grad` is; not of that over the batch.
  adversarial_grad = accumulation.split(
      task.accumulate * adversarial_grad, task.accumulate
  )

  def of_last_layer(piece, _):
    return _pull_last(task, rgb_params, piece[0])[1](piece[1]), {}, ()

  adversarial_rgb_grad, _, _ = accumulation.mean_gradients(
      of_last_layer, rgb_params, (hidden, adversarial_grad), rngs['dropout']
  )
  weight = gradients.adversarial_weight(
      task, state, image_rgb_grad, adversarial_rgb_grad
  )

  def backward(piece, key):
    images, image_grad, adversarial_grad = piece
    grad = image_grad + weight * adversarial_grad
    return _backward(task, state, images, grad, {**rngs, 'dropout': key})

  grads, _, _ = accumulation.mean_gradients(
      backward,
      state.params,
      (pieces, image_grad, adversarial_grad),
      rngs['dropout'],
  )
  metrics['loss'] += weight * adversarial
  metrics |= {'adversarial': adversarial, 'adversarial_weight': weight}
  return gradients.Gradients(recons, None, disc_stats, grads, metrics, features)


def _pull_last(task, params, hidden):
  """Reconstructions, and the function that pulls gradients to `params`."""
  recons, pull = jax.vjp(
      lambda params: gradients.last_layer(task, params, hidden), params
  )
  return recons, lambda grad: pull(grad)[0]


def _backward(task, state, images, recons_grad, rngs):
  """Pulls a gradient of reconstructions back through the whole model."""
  (hidden, _), pull_hidden, _ = jax.vjp(
      lambda params: gradients.all_but_last(
          task, params, state.codebook, images, rngs
      ),
      state.params,
      has_aux=True,
  )
  _, pull_last = jax.vjp(
      lambda *args: gradients.last_layer(task, *args),
      state.params['to_rgb'],
      hidden,
  )
  rgb_grad, hidden_grad = pull_last(recons_grad)
  return gradients.pull_back(task, pull_hidden, hidden_grad, rgb_grad), {}, ()


def _quantized(task, state, features, rngs) -> tuple[PyTree, Metrics]:
  """Quantizes all features again, as one batch, to move the codebook."""
  quantized, mutated = task.model.apply(
      {'params': state.params, 'codebook': state.codebook},
      features,
      train=True,
      rngs={'codebook': rngs['codebook']},
      mutable=['codebook'],
      method='quantize',
  )
  metrics = gradients.quantization_metrics(task.model, quantized)
  return mutated['codebook'], metrics
