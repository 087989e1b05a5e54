"""VGG16 as in torchvision (Simonyan and Zisserman, ICLR 2015).

The computation is that of `torchvision/models/vgg.py`, without batch
normalization, in evaluation mode. LPIPS has the same convolutions.
"""

from collections.abc import Sequence
import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import module

# Channels of the convolutions of each level; between levels, the map is halved.
LEVELS = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
# Pixels of an image that the classifier can read.
IMAGE_SIZE = 224


class VGG16(module.Module):
  """VGG16, as a classifier and for its features.

  Parameters are `conv_0` to `conv_12`, named as in `lpips.LPIPS`, and `fc_0`
  to `fc_2`, which are torchvision's `classifier.N` for N = 0, 3, 6. The kernel
  of `fc_0` is float32[7, 7, 512, width].

  Attributes:
    width: Features of the two hidden layers of the classifier.
    num_classes: Number of classes.
  """

  width: int = 4096
  num_classes: int = 1000

  def setup(self) -> None:
    """Builds the convolutions and the classifier."""
    self.conv = convolutions(jnp.float32)
    self.fc = [
        nn.DenseGeneral(self.width, axis=(-3, -2, -1)),
        nn.Dense(self.width),
        nn.Dense(self.num_classes),
    ]

  def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
    """Classifies images: float32[B, 224, 224, 3] -> features and logits.

    Args:
      images: Images that were resized and scaled.

    Returns:
      'fc2', float32[B, width], the features before the last layer, after the
      ReLU (`fc2_relu` in torch-fidelity); 'logits', float32[B, num_classes].
    """
    chex.assert_shape(images, (None, IMAGE_SIZE, IMAGE_SIZE, 3))
    x = _halve(levels(images, self.conv)[-1])
    fc2 = nn.relu(self.fc[1](nn.relu(self.fc[0](x))))
    return {'fc2': fc2, 'logits': self.fc[2](fc2)}


def convolutions(dtype: jnp.dtype | type) -> list[nn.Conv]:
  """The 13 convolutions, for a module to keep; they compute in `dtype`."""
  widths = [width for level in LEVELS for width in level]
  return [nn.Conv(w, (3, 3), padding=1, dtype=dtype) for w in widths]


def levels(x: jax.Array, convs: Sequence[nn.Conv]) -> list[jax.Array]:
  """Features after the last convolution of each level.

  Args:
    x: [B, Y, X, 3], images that were resized and scaled.
    convs: The convolutions of the calling module, see `convolutions`.

  Returns:
    Five arrays [B, H, W, C], each with half the sides of the one before.
  """
  features, remaining = [], iter(convs)
  for level, widths in enumerate(LEVELS):
    x = _halve(x) if level > 0 else x
    for conv in itertools.islice(remaining, len(widths)):
      x = nn.relu(conv(x))
    features.append(x)
  return features


def _halve(x: jax.Array) -> jax.Array:
  return nn.max_pool(x, (2, 2), strides=(2, 2))
