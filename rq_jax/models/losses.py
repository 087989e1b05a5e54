"""Losses of both stages, as pure functions in float32."""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp

from rq_jax.typing import PyTree

# Maximum size of the logits of one chunk of positions on a device.
_LOGITS_BYTES = 256 * 2**20


def reconstruction(
    images: jax.Array, recons: jax.Array, kind: str = 'mse'
) -> jax.Array:
  """Mean distance between pixels: [B, Y, X, 3], [B, Y, X, 3] -> float32[].

  Args:
    images: The original images.
    recons: The reconstructions.
    kind: 'mse' for the squared distance, 'l1' for the absolute distance.

  Raises:
    ValueError: If `kind` is neither.
  """
  error = recons.astype(jnp.float32) - images.astype(jnp.float32)
  if kind == 'mse':
    return jnp.mean(jnp.square(error))
  if kind == 'l1':
    return jnp.mean(jnp.abs(error))
  raise ValueError(
      f"config.loss.reconstruction={kind!r} must be 'mse' or 'l1'. Change"
      ' --config.loss.reconstruction.'
  )


def hinge_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
  """Hinge loss of the discriminator: [...], [...] -> float32[].

  It is 0 if all real logits are above 1 and all fake ones below -1.
  """
  return _mean_of_two(
      jax.nn.relu(1 - _float(real)), jax.nn.relu(1 + _float(fake))
  )


def vanilla_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
  """Binary cross entropy of real against fake: [...], [...] -> float32[]."""
  return _mean_of_two(
      jax.nn.softplus(-_float(real)), jax.nn.softplus(_float(fake))
  )


def generator(fake: jax.Array) -> jax.Array:
  """Loss of the generator under either discriminator: [...] -> float32[].

  The official code, too, takes the mean logit for both 'hinge' and 'vanilla'.
  """
  return -jnp.mean(_float(fake))


def adaptive_weight(
    reconstruction_grad: jax.Array, adversarial_grad: jax.Array
) -> jax.Array:
  """Weight that makes both losses pull equally on the last layer: float32[].

  Equation 7 of VQ-GAN (Esser et al., CVPR 2021), with the official constants.

  Args:
    reconstruction_grad: Gradient of the reconstruction (and perceptual) loss
      with respect to the kernel of the decoder's last layer.
    adversarial_grad: Gradient of `generator` with respect to the same kernel.

  Returns:
    The ratio of their norms, at most 1e4. No gradient flows through it.
  """
  weight = _norm(reconstruction_grad) / (_norm(adversarial_grad) + 1e-4)
  return jax.lax.stop_gradient(jnp.clip(weight, 0.0, 1e4))


def soft_target_cross_entropy(
    logits: jax.Array, targets: jax.Array
) -> jax.Array:
  """Cross entropy with target distributions: [..., K] twice -> float32[...].

  The official code subtracts the maximum from the logits and adds 1e-7 within
  the logarithm, so its loss exceeds this exact one by at most 1e-7.

  Args:
    logits: Unnormalized log-probabilities, all finite.
    targets: Distributions over the K codewords; each sums to 1.
  """
  logits = _float(logits)
  expected = jnp.sum(_float(targets) * logits, axis=-1)
  return jax.nn.logsumexp(logits, axis=-1) - expected


def cross_entropy(logits: jax.Array, codes: jax.Array) -> jax.Array:
  """Negative log-likelihood: [..., K], int32[...] -> float32[...]."""
  logits = _float(logits)
  chosen = jnp.take_along_axis(logits, codes[..., None], axis=-1)
  return jax.nn.logsumexp(logits, axis=-1) - jnp.squeeze(chosen, axis=-1)


def chunked_over_positions(
    fn: Callable[..., PyTree], *arrays: jax.Array, num_chunks: int
) -> PyTree:
  """Computes `fn(*arrays)`, a few positions at a time, to save memory.

  Intermediate arrays of `fn`, such as logits and soft targets, exist only for
  one chunk at a time and are recomputed in the backward pass. Gradients flow
  through the arrays and through everything that `fn` closes over.

  Args:
    fn: A pure function from arrays [B, t, ...] to arrays [B, t, ...] that
      treats all positions alike. It must call modules through `module.apply`,
      not as bound modules.
    *arrays: Each [B, T, ...]. The batch is not split here, because it is
      already split over the devices of a mesh.
    num_chunks: Number of chunks, a divisor of T. With 1, `fn` is called
      directly.

  Returns:
    The results of `fn` for all positions: a tree of arrays [B, T, ...].

  Raises:
    ValueError: If `num_chunks` does not divide the number of positions.
  """
  if num_chunks == 1:
    return fn(*arrays)
  if any(x.shape[1] % num_chunks for x in arrays):
    raise ValueError(
        f'num_chunks={num_chunks} must divide the number of positions, axis 1'
        f' of {[x.shape for x in arrays]}. Use `num_position_chunks`.'
    )

  def split(x):  # [B, T, ...] -> [chunks, B, t, ...]
    x = x.reshape(x.shape[0], num_chunks, -1, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0)

  def join(x):  # [chunks, B, t, ...] -> [B, T, ...]
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])

  # The loop already keeps the compiler from undoing the rematerialization.
  remat = jax.checkpoint(fn, prevent_cse=False)
  chunks = jax.lax.map(lambda xs: remat(*xs), [split(x) for x in arrays])
  return jax.tree.map(join, chunks)


def num_position_chunks(
    batch_per_device: int,
    positions: int,
    depth: int,
    codebook_size: int,
) -> int:
  """Smallest number of chunks whose float32 logits fit into 256 MiB each.

  Args:
    batch_per_device: Images of the batch on each device.
    positions: T, positions of a code map.
    depth: D, codes at each position.
    codebook_size: K, logits for each code.

  Returns:
    The smallest divisor of `positions` that is large enough; `positions` if
    none is.
  """
  total = 4 * batch_per_device * positions * depth * codebook_size
  least = math.ceil(total / _LOGITS_BYTES)
  return next(
      (n for n in range(1, positions + 1) if positions % n == 0 and n >= least),
      positions,
  )


def _float(x: jax.Array) -> jax.Array:
  return x.astype(jnp.float32)


def _mean_of_two(real: jax.Array, fake: jax.Array) -> jax.Array:
  return 0.5 * (jnp.mean(real) + jnp.mean(fake))


def _norm(x: jax.Array) -> jax.Array:
  return jnp.sqrt(jnp.sum(jnp.square(_float(x))))
