"""Prepares images for classifiers as their authors do, on the device.

Both functions map uint8[B, Y, X, 3] of any size to float32[B, 224, 224, 3].
Shapes are fixed while JAX traces, so each size compiles a program.
"""

from collections.abc import Callable
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.checkpoints import networks

SIZE = 224
# The shape of one prepared image.
SHAPE = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
# Mean and deviation of ImageNet's pixels in [0, 1].
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# Start of the SHA-256 of ResNets 50, 101 and 152 of torchvision (IMAGENET1K_V2)
# that were published with a shorter side of 232 pixels.
_SECOND_WEIGHTS = ('11ad3fa6', 'cd907fc2', 'f82ba261')
# Bits after the binary point of Pillow's weights.
_BITS = 22
# Resolution of TensorFlow's table of bicubic weights, and its parameter.
_TABLE = 1024
_CUBIC = -0.75


class _Taps(NamedTuple):
  """How each new row is a weighted sum of old rows.

  Attributes:
    rows: int32[K, new], indices of the old rows.
    weights: [K, new], their weights, of the dtype of the sum.
  """

  rows: np.ndarray
  weights: np.ndarray


def of_network(
    described: networks.Description,
) -> tuple[str, Callable[[jax.Array], jax.Array]]:
  """How the authors of a network prepare images: a description, the function.

  Args:
    described: A ResNet or EfficientNet-Lite0.
  """
  if described.kind == 'efficientnet_lite0':
    return 'tensorflow/tpu, central 7/8, bicubic', efficientnet_lite0
  hashes = [source['sha256'] for source in described.sources]
  second = any(digest.startswith(_SECOND_WEIGHTS) for digest in hashes)
  shorter = 232 if second else 256
  return (
      f'torchvision, shorter side {shorter}, bilinear',
      functools.partial(torchvision, shorter=shorter),
  )


def torchvision(images: jax.Array, *, shorter: int = 256) -> jax.Array:
  """Prepares images as the reference code of torchvision does.

  The image is resized, bilinear with antialiasing; the center of 224x224 pixels
  is kept; colours in [0, 1] are normalized
  (`ImageClassification` in torchvision/transforms/_presets.py). Pixels after
  the resize are exactly those of Pillow, which computes with integers.

  Args:
    images: uint8[B, Y, X, 3].
    shorter: Pixels of the shorter side after the resize.

  Returns:
    float32[B, 224, 224, 3].
  """
  height, width = images.shape[1:3]
  short = min(height, width)
  x = images.astype(jnp.int32)
  # Pillow resizes the width first.
  for axis, size in ((2, width), (1, height)):
    # torchvision rounds the longer side down, and half a row to even.
    resized = shorter * size // short
    taps = _pillow(size, resized)
    top = round((resized - SIZE) / 2)
    x = _resample(x, axis, _Taps(*(a[:, top : top + SIZE] for a in taps)))
    x = jnp.clip((x + (1 << (_BITS - 1))) >> _BITS, 0, 255)
  scaled = x.astype(jnp.float32) / 255
  return (scaled - _over_maps(_MEAN)) / _over_maps(_STD)


def efficientnet_lite0(images: jax.Array) -> jax.Array:
  """Prepares images as the authors of EfficientNet-Lite0 do.

  A square in the center, with 7/8 of the shorter side, is resized to 224x224
  pixels, bicubic without antialiasing, as `tf.image.resize_bicubic` does; then
  127 is subtracted, and the result divided by 128 (tensorflow/tpu:
  `efficientnet/preprocessing.py` and `lite/efficientnet_lite_builder.py`).

  Args:
    images: uint8[B, Y, X, 3].

  Returns:
    float32[B, 224, 224, 3].
  """
  height, width = images.shape[1:3]
  # 32 pixels is the margin around the 224 pixels that are kept.
  side = int(np.float32(SIZE / (SIZE + 32)) * np.float32(min(height, width)))
  side = max(side, 1)
  top, left = ((size - side + 1) // 2 for size in (height, width))
  x = images[:, top : top + side, left : left + side].astype(jnp.float32)
  taps = _tensorflow(side, SIZE)
  x = _resample(_resample(x, 1, taps), 2, taps)
  return (x - 127) / 128


def _resample(x: jax.Array, axis: int, taps: _Taps) -> jax.Array:
  """Weighted sums along an axis of [B, Y, X, 3]."""
  rows, weights = (jnp.asarray(a) for a in taps)
  others = [i for i in range(x.ndim) if i != axis]

  def add(k: jax.Array, total: jax.Array) -> jax.Array:
    weight = jnp.expand_dims(weights[k], others)
    return total + jnp.take(x, rows[k], axis=axis) * weight

  shape = (*x.shape[:axis], rows.shape[1], *x.shape[axis + 1 :])
  return jax.lax.fori_loop(0, len(taps.rows), add, jnp.zeros(shape, x.dtype))


def _pillow(old: int, new: int) -> _Taps:
  """Weights of Pillow's bilinear filter, times 2^22.

  They are those of `precompute_coeffs` and `normalize_coeffs_8bpc` in Pillow's
  src/libImaging/Resample.c.
  """
  scale = old / new
  reach = max(scale, 1.0)  # The filter widens when the image shrinks.
  count = math.ceil(reach) * 2 + 1
  center = (np.arange(new) + 0.5) * scale
  first = np.maximum(np.trunc(center - reach + 0.5), 0).astype(np.int32)
  last = np.minimum(np.trunc(center + reach + 0.5), old).astype(np.int32)
  rows = first + np.arange(count, dtype=np.int32)[:, None]
  distance = (rows - center + 0.5) / reach
  weights = np.where(rows < last, np.maximum(1 - np.abs(distance), 0), 0)
  weights /= np.sum(weights, axis=0)
  whole = np.trunc(weights * (1 << _BITS) + 0.5).astype(np.int32)
  return _Taps(np.minimum(rows, old - 1), whole)


def _tensorflow(old: int, new: int) -> _Taps:
  """Weights of TensorFlow's bicubic filter, without half-pixel centers.

  They are those of `resize_bicubic_op.cc`, which rounds positions to 1/1024.
  """
  position = np.arange(new, dtype=np.float32) * np.float32(old / new)
  first = np.floor(position).astype(np.int32)
  offset = np.rint((position - first) * np.float32(_TABLE)) / _TABLE
  rows = first + np.arange(-1, 3, dtype=np.int32)[:, None]
  weights = _cubic(np.abs(np.arange(-1, 3)[:, None] - offset))
  return _Taps(np.clip(rows, 0, old - 1), weights.astype(np.float32))


def _cubic(x: np.ndarray) -> np.ndarray:
  """The convolution kernel of Keys (1981) for distances in [0, 2]."""
  near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
  far = ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC
  return np.where(x <= 1, near, far)


def _over_maps(values: tuple[float, ...]) -> jax.Array:
  return jnp.asarray(values, jnp.float32)[None, None, None]
