"""Losses of stage 1 and their gradients, pulled back part by part.

The losses on images are differentiated once, with respect to the images. Both
gradients are pulled back through only the last layer, which gives the adaptive
weight, and then together through the rest.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.models import codebook
from rq_jax.models import losses
from rq_jax.models import quantizer
from rq_jax.models import rqvae
from rq_jax.training.stage1 import adversary
from rq_jax.typing import Metrics, PyTree


class Gradients(NamedTuple):
  """Gradients of a batch, and what else a step needs.

  Attributes:
    recons: Reconstructions, float32[B, Y, X, 3].
    codebook: The moved codebook.
    disc_stats: Statistics of the discriminator after `generator_loss`.
    grads: Gradients of the parameters.
    metrics: Metrics of the batch, including 'loss'.
    features: Features before quantization, float32[B, H, W, C].
  """

  recons: jax.Array
  codebook: PyTree
  disc_stats: PyTree
  grads: PyTree
  metrics: Metrics
  features: jax.Array


class Hidden(NamedTuple):
  """Outputs of all but the last layer that need no gradient."""

  quantized: quantizer.Quantized
  features: jax.Array  # float32[B, H, W, C], before quantization.
  codebook: PyTree  # After it has moved.


def of_batch(
    task: Any, state: Any, images: jax.Array, rngs: Mapping[str, jax.Array]
) -> Gradients:
  """Computes the gradients of a batch at once.

  Args:
    task: A `stage1.Task`.
    state: The `stage1.State` before the step.
    images: float32[B, Y, X, 3] in [-1, 1].
    rngs: Keys 'codebook' and 'dropout'.
  """
  (hidden, commitment), pull_hidden, found = jax.vjp(
      lambda params: all_but_last(task, params, state.codebook, images, rngs),
      state.params,
      has_aux=True,
  )
  recons, pull_last = jax.vjp(
      lambda *args: last_layer(task, *args), state.params['to_rgb'], hidden
  )
  (image_loss, parts), image_grad = jax.value_and_grad(
      lambda x: loss_on_images(task, images, x), has_aux=True
  )(recons)
  pulled = pull_last(image_grad)
  loss = image_loss + task.loss['commitment_weight'] * commitment
  metrics = {
      **parts,
      'commitment': commitment,
      **quantization_metrics(task.model, found.quantized),
  }
  disc_stats = state.disc_stats
  if task.discriminator is not None:
    (adversarial, disc_stats), adversarial_grad = jax.value_and_grad(
        lambda x: adversary.generator_loss(task, state, x), has_aux=True
    )(recons)
    pulled_adversarial = pull_last(adversarial_grad)
    weight = adversarial_weight(task, state, pulled[0], pulled_adversarial[0])
    pulled = jax.tree.map(
        lambda a, b: a + weight.astype(b.dtype) * b, pulled, pulled_adversarial
    )
    loss = loss + weight * adversarial
    metrics |= {'adversarial': adversarial, 'adversarial_weight': weight}
  rgb_grad, hidden_grad = pulled
  grads = pull_back(task, pull_hidden, hidden_grad, rgb_grad)
  metrics |= {'loss': loss}
  return Gradients(
      recons, found.codebook, disc_stats, grads, metrics, found.features
  )


def all_but_last(
    task: Any,
    params: PyTree,
    books: PyTree,
    images: jax.Array,
    rngs: Mapping[str, jax.Array],
) -> tuple[tuple[jax.Array, jax.Array], Hidden]:
  """The input of the last layer and the commitment loss; then all others."""
  (hidden, quantized, features), mutated = task.model.apply(
      {'params': params, 'codebook': books},
      images,
      train=True,
      rngs=rngs,
      mutable=['codebook'],
      method='hidden',
  )
  others = Hidden(quantized, features, mutated['codebook'])
  return (hidden, quantized.commitment_loss), others


def last_layer(task: Any, params: PyTree, hidden: jax.Array) -> jax.Array:
  """Reconstructions: [B, Y, X, C] -> float32[B, Y, X, 3]."""
  return task.model.apply(
      {'params': {'to_rgb': params}}, hidden, method='last_layer'
  )


def loss_on_images(
    task: Any, images: jax.Array, recons: jax.Array
) -> tuple[jax.Array, Metrics]:
  """Loss by pixels and by perceptual distance: the sum, and both parts."""
  loss = losses.reconstruction(images, recons, task.loss['reconstruction'])
  parts = {'reconstruction': loss}
  if task.perceptual is not None:
    assert task.perceptual_variables is not None
    distances = task.perceptual.apply(task.perceptual_variables, images, recons)
    parts['perceptual'] = jnp.mean(distances)
    loss = loss + task.loss['perceptual_weight'] * parts['perceptual']
  return loss, parts


def adversarial_weight(
    task: Any, state: Any, image_grad: PyTree, adversarial_grad: PyTree
) -> jax.Array:
  """Weight of the generator loss, from both gradients of the last layer."""
  weight = losses.adaptive_weight(
      image_grad['conv']['kernel'], adversarial_grad['conv']['kernel']
  )
  started = state.step >= task.loss['adversarial_start']
  return jnp.where(started, weight * task.loss['adversarial_weight'], 0.0)


def pull_back(
    task: Any, pull_hidden: Any, hidden_grad: jax.Array, rgb_grad: PyTree
) -> PyTree:
  """Gradients of all parameters, from those of the last layer and its input."""
  weight = jnp.asarray(task.loss['commitment_weight'], jnp.float32)
  (grads,) = pull_hidden((hidden_grad, weight))
  # `all_but_last` stops before the last layer: its gradients there are zero.
  return {**grads, 'to_rgb': rgb_grad}


def quantization_metrics(
    model: rqvae.RQVAE, quantized: quantizer.Quantized
) -> Metrics:
  """Error of the quantization, and how many codewords a batch uses."""
  shares = code_shares(model, quantized.codes)
  return {
      'quantization_error': quantized.error,
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
