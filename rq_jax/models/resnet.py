"""ResNets as in torchvision, which classify images (He et al., CVPR 2016).

The computation is that of `torchvision/models/resnet.py`, in evaluation mode:
in a bottleneck, the 3x3 convolution has the stride.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import batch_norm
from rq_jax.models import module

# Blocks of each level, by depth; levels have 64, 128, 256 and 512 channels.
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
# The shallowest one that has bottlenecks.
_BOTTLENECKS = 50
_EXPANSION = 4
_EPSILON = 1e-5


def has_bottlenecks(depth: int) -> bool:
  """Whether the blocks of a ResNet of this depth have three convolutions."""
  return depth >= _BOTTLENECKS


class ResNet(module.Module):
  """A ResNet of torchvision, as a classifier and for its features.

  Parameters are named as in torchvision, but with underscores: `conv1`, `bn1`,
  `layer1_0` to `layer4_2` (each with `conv1`, `bn1` and so on, and where the
  shape changes, `downsample_conv` and `downsample_bn`), and `fc`.

  Attributes:
    depth: Number of layers; a key of `BLOCKS`.
    num_classes: Number of classes.
  """

  depth: int
  num_classes: int = 1000

  @nn.compact
  def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
    """Classifies images: float32[B, Y, X, 3] -> features and logits.

    Args:
      images: Images that were resized and scaled, of 224x224 pixels in
        training.

    Returns:
      'pool', float32[B, F], the features after the average over the map, where
      F is 512 for depths 18 and 34, and else 2048; 'logits', float32[B,
      num_classes].
    """
    x = _conv(64, 7, 2, 'conv1')(images)
    x = nn.relu(_norm('bn1')(x))
    # After the ReLU, zeros around the map do not change a maximum.
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = nn.max_pool(x, (3, 3), strides=(2, 2))
    for level, blocks in enumerate(BLOCKS[self.depth]):
      for i in range(blocks):
        block = _Block(
            64 * 2**level,
            stride=2 if level > 0 and i == 0 else 1,
            bottleneck=has_bottlenecks(self.depth),
            name=f'layer{level + 1}_{i}',
        )
        x = block(x)
    pool = jnp.mean(x, axis=(1, 2))
    return {'pool': pool, 'logits': nn.Dense(self.num_classes, name='fc')(pool)}


class _Block(nn.Module):
  """Two convolutions, or three in a bottleneck, with a residual connection."""

  features: int
  stride: int
  bottleneck: bool

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines a map: [B, H, W, C] -> [B, H', W', features or 4 features]."""
    if self.bottleneck:
      out = self.features * _EXPANSION
      layers = ((self.features, 1, 1), (self.features, 3, self.stride))
      layers += ((out, 1, 1),)
    else:
      out = self.features
      layers = ((out, 3, self.stride), (out, 3, 1))
    h = x
    for i, (width, kernel, stride) in enumerate(layers, 1):
      h = nn.relu(h) if i > 1 else h
      h = _norm(f'bn{i}')(_conv(width, kernel, stride, f'conv{i}')(h))
    if x.shape[-1] != out or self.stride > 1:
      x = _conv(out, 1, self.stride, 'downsample_conv')(x)
      x = _norm('downsample_bn')(x)
    return nn.relu(x + h)


def _conv(features: int, kernel: int, stride: int, name: str) -> nn.Conv:
  """A convolution without bias; 'SAME' would pad other sides at stride 2."""
  return nn.Conv(
      features,
      (kernel, kernel),
      strides=stride,
      padding=kernel // 2,
      use_bias=False,
      name=name,
  )


def _norm(name: str) -> batch_norm.BatchNorm:
  return batch_norm.BatchNorm(_EPSILON, name=name)
