"""LPIPS, the perceptual distance of stage 1 (Zhang et al., CVPR 2018).

Images are compared by their features in VGG16. The weights of VGG16 and of the
distance are converted from published files and never trained here.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import module
from rq_jax.models import vgg

# Images smaller than this have no pixel left after the last halving.
MIN_SIZE = 2 ** (len(vgg.LEVELS) - 1)
# Mean and deviation of VGG16's training pixels, scaled to [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class LPIPS(module.Module):
  """Perceptual distance between images.

  Features after the last convolution of each level of VGG16 are scaled to
  length 1; their squared differences are weighted by channel, averaged over the
  map, and summed over the five levels.

  Parameters are `conv_0` to `conv_12`, each {'kernel', 'bias'}, which are
  `features.N` of torchvision's VGG16 for N = 0, 2 | 5, 7 | 10, 12, 14 |
  17, 19, 21 | 24, 26, 28; and `weight_0` to `weight_4`, float32[C], the 1x1
  convolutions `lin0` to `lin4` of the authors.

  Attributes:
    dtype: Dtype of the convolutions. Parameters, and all computations on the
      features, are float32.
  """

  dtype: str = 'float32'

  def setup(self) -> None:
    """Builds the convolutions of VGG16 and the linear heads."""
    self.conv = vgg.convolutions(jnp.dtype(self.dtype))
    self.weights = [
        self.param(f'weight_{i}', nn.initializers.ones, level[-1:], jnp.float32)
        for i, level in enumerate(vgg.LEVELS)
    ]

  def __call__(self, images: jax.Array, others: jax.Array) -> jax.Array:
    """Compares images: float[B, Y, X, 3] twice, in [-1, 1] -> float32[B].

    Raises:
      ValueError: If the images are too small to be halved four times.
    """
    chex.assert_equal_shape([images, others])
    b, *size, _ = images.shape
    if min(size) < MIN_SIZE:
      raise ValueError(
          f'Images of {size[0]}x{size[1]} pixels are too small for LPIPS, which'
          f' halves them {len(vgg.LEVELS) - 1} times. Use at least'
          f' {MIN_SIZE}x{MIN_SIZE} pixels.'
      )
    # In two calls, so that no gradient is computed for images that need none.
    levels = zip(self._features(images), self._features(others), self.weights)
    return sum(
        (_distance(*level) for level in levels), jnp.zeros(b, jnp.float32)
    )

  def _features(self, x: jax.Array) -> list[jax.Array]:
    """Features of each level, [B, H, W, C]."""
    x = (x - _over_maps(_SHIFT)) / _over_maps(_SCALE)
    return vgg.levels(x, self.conv)


def _distance(x: jax.Array, y: jax.Array, weight: jax.Array) -> jax.Array:
  """Compares features: [B, H, W, C] twice, [C] -> float32[B]."""
  squared = jnp.square(_unit(x) - _unit(y))
  return jnp.sum(weight[None] * jnp.mean(squared, axis=(1, 2)), axis=-1)


def _unit(x: jax.Array) -> jax.Array:
  """Scales features to length 1."""
  x = x.astype(jnp.float32)
  # Where all features are 0, the derivative of the root is not finite. The
  # relu before it replaces that gradient by 0.
  norm = jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True))
  return x / (norm + _EPSILON)


def _over_maps(values: tuple[float, ...]) -> jax.Array:
  return jnp.asarray(values, jnp.float32)[None, None, None]
