"""InceptionV3 (Szegedy et al., CVPR 2016), the network of FID, IS and sFID.

It is the network of TensorFlow's `inception-2015-12-05`, with which IS
(Salimans et al., NeurIPS 2016) and FID (Heusel et al., NeurIPS 2017) were
defined. It differs from torchvision's: it has 1008 classes, its average pools
do not count pixels beyond the border, and the last block pools by maximum.
Names are those of pytorch-fid's file `pt_inception-2015-12-05`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import batch_norm
from rq_jax.models import module

# Height and width of the images.
SIZE = 299
_CLASSES = 1008
# Channels of Mixed_6d.branch1x1 that are the spatial features of sFID.
_SPATIAL_CHANNELS = 7
_EPSILON = 1e-3
# Otherwise, TPUs would round to bfloat16, and GPUs to TensorFloat-32.
_PRECISION = jax.lax.Precision.HIGHEST


class _Conv(NamedTuple):
  """A convolution: its output channels, and the shape of its kernel."""

  channels: int
  height: int
  width: int


# Convolutions, one after another. At its end, a branch may split in two.
_Branch = Sequence[_Conv | tuple[_Conv, _Conv]]


class _Block(NamedTuple):
  """Branches that see the same input, and whose outputs are concatenated.

  Attributes:
    branches: The branches by name, in the order of their channels.
    pool: What `branch_pool` computes before its convolution: 'average' or
      'max'. A block with 'halve' halves the map instead: the last convolution
      of each branch has stride 2, and so has a maximum of the input, whose
      channels come last.
  """

  branches: Mapping[str, _Branch]
  pool: str = 'average'


def _mixed_5(pooled: int) -> _Block:
  return _Block(
      {
          'branch1x1': [_Conv(64, 1, 1)],
          'branch5x5': [_Conv(48, 1, 1), _Conv(64, 5, 5)],
          'branch3x3dbl': [_Conv(64, 1, 1), _Conv(96, 3, 3), _Conv(96, 3, 3)],
          'branch_pool': [_Conv(pooled, 1, 1)],
      }
  )


def _mixed_6(inner: int) -> _Block:
  across, down = _Conv(inner, 1, 7), _Conv(inner, 7, 1)
  first = _Conv(inner, 1, 1)
  return _Block(
      {
          'branch1x1': [_Conv(192, 1, 1)],
          'branch7x7': [first, across, _Conv(192, 7, 1)],
          'branch7x7dbl': [first, down, across, down, _Conv(192, 1, 7)],
          'branch_pool': [_Conv(192, 1, 1)],
      }
  )


def _mixed_7(pool: str) -> _Block:
  split = _Conv(384, 1, 3), _Conv(384, 3, 1)
  return _Block(
      {
          'branch1x1': [_Conv(320, 1, 1)],
          'branch3x3': [_Conv(384, 1, 1), split],
          'branch3x3dbl': [_Conv(448, 1, 1), _Conv(384, 3, 3), split],
          'branch_pool': [_Conv(192, 1, 1)],
      },
      pool,
  )


_BLOCKS = {
    'Mixed_5b': _mixed_5(32),
    'Mixed_5c': _mixed_5(64),
    'Mixed_5d': _mixed_5(64),
    'Mixed_6a': _Block(
        {
            'branch3x3': [_Conv(384, 3, 3)],
            'branch3x3dbl': [_Conv(64, 1, 1), _Conv(96, 3, 3), _Conv(96, 3, 3)],
        },
        'halve',
    ),
    'Mixed_6b': _mixed_6(128),
    'Mixed_6c': _mixed_6(160),
    'Mixed_6d': _mixed_6(160),
    'Mixed_6e': _mixed_6(192),
    'Mixed_7a': _Block(
        {
            'branch3x3': [_Conv(192, 1, 1), _Conv(320, 3, 3)],
            'branch7x7x3': [
                _Conv(192, 1, 1),
                _Conv(192, 1, 7),
                _Conv(192, 7, 1),
                _Conv(192, 3, 3),
            ],
        },
        'halve',
    ),
    'Mixed_7b': _mixed_7('average'),
    'Mixed_7c': _mixed_7('max'),
}


class InceptionV3(module.Module):
  """Features and logits of images.

  Parameters are `NAME/conv/kernel` and `NAME/bn/{scale,bias,mean,var}` for each
  convolution, where NAME is such as `Conv2d_1a_3x3` or `Mixed_5b/branch5x5_1`,
  and `fc/{kernel,bias}`. All computations are float32 on every device.
  """

  @nn.compact
  def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
    """Features of images: float32[B, 299, 299, 3] in [-1, 1] -> a dict.

    Returns:
      'pool': float32[B, 2048], the features of FID.
      'spatial': float32[B, 2023], the features of sFID: the first 7 channels of
        Mixed_6d.branch1x1, in the order of [17, 17, 7].
      'logits': float32[B, 1008].
      'unbiased_logits': float32[B, 1008], the logits without their bias, from
        which most tools compute IS.
    """
    x = _ConvNorm(_Conv(32, 3, 3), 2, 'VALID', name='Conv2d_1a_3x3')(images)
    x = _inner(_ConvNorm(_Conv(32, 3, 3), name='Conv2d_2a_3x3')(x))
    x = _ConvNorm(_Conv(64, 3, 3), name='Conv2d_2b_3x3')(x)
    x = _halved(x)
    x = _ConvNorm(_Conv(80, 1, 1), name='Conv2d_3b_1x1')(x)
    x = _inner(_ConvNorm(_Conv(192, 3, 3), name='Conv2d_4a_3x3')(x))
    x = _halved(x)
    results = {}
    for name, block in _BLOCKS.items():
      x = _Mixed(block, name=name)(x)
      if name == 'Mixed_6d':
        # `branch1x1` comes first.
        first = x[..., :_SPATIAL_CHANNELS]
        results['spatial'] = first.reshape(len(first), -1)
    results['pool'] = jnp.mean(x, axis=(1, 2))
    return results | _Classifier(name='fc')(results['pool'])


class _Classifier(nn.Module):
  """Logits with and without bias, float32[B, 1008] each."""

  @nn.compact
  def __call__(self, x):
    # By default, the dtype would depend on JAX_ENABLE_X64.
    shape, dtype = (x.shape[-1], _CLASSES), jnp.float32
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape, dtype)
    bias = self.param('bias', nn.initializers.zeros, shape[1:], dtype)
    unbiased = jnp.dot(x, kernel, precision=_PRECISION)
    return {'unbiased_logits': unbiased, 'logits': unbiased + bias[None]}


class _Mixed(nn.Module):
  """A block: [B, H, W, C] -> [B, H, W, sum of the channels of its branches]."""

  block: _Block

  @nn.compact
  def __call__(self, x):
    outputs = []
    for name, convs in self.block.branches.items():
      outputs += self._branch(name, convs, x)
    if self.block.pool == 'halve':
      outputs.append(_halved(x))
    return jnp.concatenate(outputs, axis=-1)

  def _branch(self, name, convs, x):
    """Outputs of a branch: two if it splits."""
    if name == 'branch_pool':
      pool = {'average': _average, 'max': _maximum}[self.block.pool]
      x = pool(x)
    *before, last = convs
    for i, conv in enumerate(before, 1):
      x = _ConvNorm(conv, name=f'{name}_{i}')(x)
    if before:
      name = f'{name}_{len(convs)}'
    if isinstance(last, _Conv):
      how = (2, 'VALID') if self.block.pool == 'halve' else (1, 'SAME')
      return [_ConvNorm(last, *how, name=name)(x)]
    split = zip(last, 'ab')
    return [_ConvNorm(c, name=f'{name}{letter}')(x) for c, letter in split]


class _ConvNorm(nn.Module):
  """Convolution, normalization and ReLU."""

  conv: _Conv
  stride: int = 1
  padding: str = 'SAME'

  @nn.compact
  def __call__(self, x):
    x = nn.Conv(
        self.conv.channels,
        (self.conv.height, self.conv.width),
        strides=self.stride,
        padding=self.padding,
        use_bias=False,
        precision=_PRECISION,
        name='conv',
    )(x)
    return nn.relu(batch_norm.BatchNorm(_EPSILON, name='bn')(x))


def _inner(x: jax.Array) -> jax.Array:
  """A map without its border: what 3x3 kernels compute without padding.

  XLA's convolutions of large maps take a quarter of the time on the CPU if they
  have padding.
  """
  return x[:, 1:-1, 1:-1]


def _halved(x: jax.Array) -> jax.Array:
  """Maxima of windows of 3x3 pixels, two pixels apart."""
  return nn.max_pool(x, (3, 3), strides=(2, 2))


def _average(x: jax.Array) -> jax.Array:
  """Mean of the pixels around each, without those beyond the border."""
  mean = nn.avg_pool(x, (3, 3), padding='SAME', count_include_pad=False)
  # Under JAX_ENABLE_X64, Flax counts the pixels in float64.
  return mean.astype(x.dtype)


def _maximum(x: jax.Array) -> jax.Array:
  """Maximum of the pixels around each."""
  return nn.max_pool(x, (3, 3), padding='SAME')
