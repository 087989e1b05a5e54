"""Resizes images to squares exactly as each tool does, and scales them.

Every tool feeds the same network, but resizes differently. Each function here
follows the order of the float32 operations of its tool, because that order
decides the last bits. `tests/fixtures/resizing` has recordings of the tools.

The two bilinear functions are traced as a part of the network's program:

- `half_pixel` equals PyTorch 2.13 on a CPU with several threads bit for bit,
  where XLA fuses a product and the following sum into one operation, as it does
  by default on CPUs that can. Elsewhere, pixels differ by up to 1.8e-7 in
  [0, 1], 3 units in the last place. PyTorch itself differs by as much between
  one thread and several, and between a CPU and a GPU.
- `tensorflow1` equals torch-fidelity on a CPU bit for bit.

`pillow_bicubic` runs on the host. It equals clean-fid bit for bit.
"""

from collections.abc import Callable
import concurrent.futures

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from rq_jax.typing import Array

# Side of the images that Inception takes, in pixels.
INCEPTION_SIZE = 299

# Quotients are rounded once here. XLA would multiply by 1 / 255 instead.
_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)
# Below every product, so that the maximum of both is the product.
_LOWEST = -1e30


def half_pixel(images: Array, size: int = INCEPTION_SIZE) -> jax.Array:
  """Resizes like rq and pytorch-fid: uint8[B, Y, X, 3] -> float32[B, S, S, 3].

  Bilinear in [0, 1], between centers of pixels, without antialiasing, as
  `torch.nn.functional.interpolate(mode='bilinear', align_corners=False)`.
  """
  pixels = jnp.asarray(_UNIT)[images]
  for axis in (2, 1):
    lower, upper, weight = _between_centers(images.shape[axis], size)
    shape = [size if i == axis else 1 for i in range(4)]
    weight = weight.reshape(shape)
    start = jnp.take(pixels, lower, axis, mode='clip') * (
        np.float32(1) - weight
    )
    # PyTorch rounds this product, and fuses the other one with the sum.
    end = jnp.maximum(
        jnp.take(pixels, upper, axis, mode='clip') * weight, _LOWEST
    )
    pixels = start + end
  return pixels


def tensorflow1(images: Array, size: int = INCEPTION_SIZE) -> jax.Array:
  """Resizes like TensorFlow 1: uint8[B, Y, X, 3] -> float32[B, S, S, 3].

  Bilinear in [0, 255], between the top left corners of pixels, without
  antialiasing, as `tf.image.resize_bilinear` in the graph of the network.
  """
  pixels = jnp.asarray(images, jnp.float32)
  for axis in (2, 1):
    lower, upper, weight = _between_corners(images.shape[axis], size)
    start = jnp.take(pixels, lower, axis, mode='clip')
    change = jnp.take(pixels, upper, axis, mode='clip') - start
    shape = [size if i == axis else 1 for i in range(4)]
    step = change * weight.reshape(shape)
    # The maximum keeps XLA from fusing both operations, which would not round
    # the product.
    pixels = start + jnp.maximum(step, _LOWEST)
  return pixels


def pillow_bicubic(images: Array, size: int = INCEPTION_SIZE) -> np.ndarray:
  """Resizes like clean-fid: uint8[B, Y, X, 3] -> float32[B, S, S, 3].

  Bicubic with antialiasing, by Pillow, for each channel as float32; clipped to
  [0, 255] and not rounded.
  """
  channels = np.moveaxis(np.asarray(images), -1, 1).astype(np.float32)
  channels = channels.reshape(-1, *channels.shape[2:])

  def resized(channel: np.ndarray) -> np.ndarray:
    image = Image.fromarray(channel)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))

  with concurrent.futures.ThreadPoolExecutor() as pool:
    pixels = np.stack(list(pool.map(resized, channels))).clip(0, 255)
  pixels = pixels.reshape(-1, 3, size, size)
  return np.ascontiguousarray(np.moveaxis(pixels, 1, -1))


# The names that `Dialect.resize` uses.
METHODS: dict[str, Callable[[Array, int], Array]] = {
    'bilinear_half_pixel': half_pixel,
    'bilinear_tensorflow1': tensorflow1,
    'bicubic_pillow': pillow_bicubic,
}
ON_HOST = {'bicubic_pillow'}

# The names that `Dialect.scale` uses. Pixels are those that the methods return.
SCALES: dict[str, Callable[[Array], Array]] = {
    '2x-1': lambda x: 2 * x - 1,
    '(x-128)/128': lambda x: (x - 128) / 128,
}


def _between_centers(
    count: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lower and upper pixel of each resized one, and the weight of the upper."""
  scale = np.float64(np.float32(count) / np.float32(size))
  # In float64, and so rounded once, as PyTorch's fused operation does.
  position = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
  position = np.maximum(position, np.float32(0))
  lower = np.minimum(position.astype(np.int32), count - 1)
  upper = np.minimum(lower + 1, count - 1)
  weight = np.clip(position - lower.astype(np.float32), 0, 1)
  return lower, upper, weight.astype(np.float32)


def _between_corners(
    count: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lower and upper pixel of each resized one, and the weight of the upper."""
  position = np.arange(size, dtype=np.float32) * np.float32(count / size)
  lower = np.minimum(position.astype(np.int32), count - 1)
  upper = np.minimum(lower + 1, count - 1)
  return lower, upper, position - lower.astype(np.float32)
