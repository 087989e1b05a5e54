"""Checks of arrays that callers pass in: images and code maps."""

from collections.abc import Sequence
import warnings

import jax
from jax import core
import jax.numpy as jnp
import numpy as np

from rq_jax.config import sizes
from rq_jax.typing import Array

# Images of a batch whose range is looked at, to recognise a wrong scale.
_LOOKED_AT = 8


def images(values: Array, image_size: sizes.ImageSize) -> jax.Array:
  """Checks images, and places them on a device: -> uint8 or float[B, Y, X, 3].

  Warns if float images seem to lie in another range than [-1, 1]. It looks at
  the first few, and waits for them if a device still computes them. float64
  becomes float32.

  Args:
    values: uint8, or float32 in [-1, 1], [B, Y, X, 3].
    image_size: Size of the images, Y, X; or one number for squares.

  Raises:
    ValueError: If the images have another shape or dtype.
  """
  if not isinstance(values, jax.Array):
    values = np.asarray(values)
  height, width = sizes.pair(image_size)
  shape = (height, width, 3)
  if values.ndim != 4 or values.shape[1:] != shape:
    raise ValueError(
        f'images has shape {list(values.shape)}, but this model takes'
        f' [B, {height}, {width}, 3].'
        f' {_shape_advice(values.shape, height, width)}'
    )
  if values.dtype == np.uint8:
    return jnp.asarray(values)
  if not jnp.issubdtype(values.dtype, jnp.floating):
    raise ValueError(
        f'images has dtype {values.dtype}, but must be uint8, or float32 in'
        ' [-1, 1]. Convert it.'
    )
  if _is_known(values):
    _warn_about_range(np.asarray(values[:_LOOKED_AT]))
  values = jnp.asarray(values)
  # JAX casts NumPy arrays itself, but not under JAX_ENABLE_X64.
  return values.astype(jnp.float32) if values.dtype == np.float64 else values


def _shape_advice(shape: tuple[int, ...], height: int, width: int) -> str:
  """How to bring an array into the shape [B, Y, X, 3]."""
  if len(shape) == 3 and shape[-1] == 3:
    return 'Add a batch dimension: images[None].'
  if len(shape) == 4 and shape[1] == 3:
    return 'Move the channels to the end: images.transpose(0, 2, 3, 1).'
  if len(shape) == 4 and shape[-1] == 3:
    return f'Resize the images to {height} x {width} pixels.'
  return 'Pass a batch of RGB images.'


def _warn_about_range(values: np.ndarray) -> None:
  """Warns if images look like float images in [0, 1] or in [0, 255]."""
  if not values.size:
    return
  low, high = float(values.min()), float(values.max())
  if high > 2:
    found, fix = f'reach {high:g}', 'uint8 for pixels from 0 to 255'
  elif low >= 0 and low < high <= 1:
    found, fix = 'all lie in [0, 1]', '2 * images - 1'
  else:
    return
  warnings.warn(
      f'images {found}, but float images must be in [-1, 1]. Pass {fix}.',
      stacklevel=4,  # The caller of `Tokenizer.encode` or `Sampler.edit`.
  )


def codes(values: Array, code_shape: Sequence[int]) -> Array:
  """Checks the shape and dtype of code maps: -> integers [B, H, W, D].

  Args:
    values: Integers [B, H, W, D].
    code_shape: H, W, D.

  Raises:
    ValueError: If the code maps have another shape or dtype.
  """
  if not isinstance(values, jax.Array):
    values = np.asarray(values)
  if values.ndim != 4 or values.shape[1:] != tuple(code_shape):
    dims = ', '.join(map(str, code_shape))
    advice = 'Pass code maps of Tokenizer.encode or Sampler.codes.'
    if values.shape == tuple(code_shape):
      advice = 'Add a batch dimension: codes[None].'
    raise ValueError(
        f'codes has shape {list(values.shape)}, but this model takes'
        f' [B, {dims}]. {advice}'
    )
  if not jnp.issubdtype(values.dtype, jnp.integer):
    raise ValueError(
        f'codes has dtype {values.dtype}, but must be integers, such as those'
        ' of Tokenizer.encode. Convert it.'
    )
  return values


def code_values(
    codes: Array,
    sizes: Sequence[int],
    *,
    allow_missing: bool = False,
    where: np.ndarray | None = None,
) -> None:
  """Checks that codes are in range.

  The values are unknown inside a jitted function and in an array that several
  processes share; nothing is checked there.

  Args:
    codes: Integers [B, H, W, D].
    sizes: Codewords at each depth, D numbers.
    allow_missing: Whether -1 may stand for a missing code.
    where: Which codes to check, bool with as many values; all if None.

  Raises:
    ValueError: If a code is out of range.
  """
  if not _is_known(codes):
    return
  found = np.asarray(codes)
  lowest = -1 if allow_missing else 0
  wrong = (found < lowest) | (found >= np.array(sizes))
  if where is not None:
    wrong &= where.reshape(wrong.shape)
  if wrong.any():
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    missing = ', or -1 for a missing code' if allow_missing else ''
    raise ValueError(
        f'codes{list(place)} is {found[place]}, but codes at depth'
        f' {place[-1] + 1} must be in [0, {sizes[place[-1]]}){missing}. Use the'
        ' tokenizer that encoded them.'
    )


def _is_known(values: Array) -> bool:
  """Whether this process can look at the values."""
  if isinstance(values, core.Tracer):
    return False
  return not isinstance(values, jax.Array) or values.is_fully_addressable
