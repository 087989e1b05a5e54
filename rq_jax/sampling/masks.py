"""Which codes of a map are kept, and which pixels they stand for."""

import jax
import numpy as np

from rq_jax.models import rqtransformer


def check_codes(
    prior: rqtransformer.RQTransformer,
    codes: jax.Array | np.ndarray,
    keep: np.ndarray | None = None,
) -> np.ndarray:
  """Checks code maps that a caller gives: -> int32[B, H, W, D].

  Args:
    prior: Whose codes they are.
    codes: Whole numbers [B, H, W, D].
    keep: Where codes count, bool[B, T, D]; everywhere if None.

  Raises:
    ValueError: If the shape is another, or a code that counts is no code.
  """
  codes = np.asarray(codes)
  shape = tuple(prior.code_shape)
  if codes.shape[1:] != shape or not np.issubdtype(codes.dtype, np.integer):
    dims = ', '.join(['B', *map(str, shape)])
    raise ValueError(
        f'codes must be whole numbers of shape [{dims}], as of'
        f' Tokenizer.encode; got {codes.dtype} of shape {codes.shape}.'
    )
  wrong = (codes < 0) | (codes >= np.array(prior.sizes))
  if keep is not None:
    wrong &= keep.reshape(codes.shape)
  if wrong.any():
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    raise ValueError(
        f'codes{list(place)} is {codes[place]}, but at this depth there are'
        f' codes from 0 to {prior.sizes[place[-1]] - 1}.'
    )
  return codes.astype(np.int32)


def expand(
    prior: rqtransformer.RQTransformer, keep: jax.Array | np.ndarray, count: int
) -> np.ndarray:
  """Which codes to keep, of every image: -> bool[B, T, D].

  Args:
    prior: Whose codes they are.
    keep: bool[H, W], for whole stacks, bool[H, W, D], or either with a leading
      B. Where [H, W, D] and [B, H, W] would be the same, it is the former.
    count: B, the number of images.

  Raises:
    ValueError: If it has another shape or type.
  """
  keep = np.asarray(keep)
  h, w, d = prior.code_shape
  ways = {
      (h, w): keep[None, ..., None],
      (h, w, d): keep[None],
      (count, h, w): keep[..., None],
      (count, h, w, d): keep,
  }
  way = next((x for shape, x in ways.items() if shape == keep.shape), None)
  if way is None or keep.dtype != bool:
    shapes = ', '.join(str(list(shape)) for shape in ways)
    raise ValueError(
        f'keep must be bool of one of the shapes {shapes}; got {keep.dtype} of'
        f' shape {list(keep.shape)}.'
    )
  return np.broadcast_to(way, (count, h, w, d)).reshape(count, h * w, d)


def cells(
    code_shape: tuple[int, int, int],
    image_size: int,
    redraw: jax.Array | np.ndarray,
    count: int,
) -> np.ndarray:
  """Positions that a mask of pixels touches: -> bool[B, H, W].

  Args:
    code_shape: H, W, D of the code map.
    image_size: Side of the images, S.
    redraw: bool[S, S] or bool[B, S, S] over pixels.
    count: B, the number of images.

  Raises:
    ValueError: If the mask has another shape or type.
  """
  redraw = np.asarray(redraw)
  shape = (image_size, image_size)
  if redraw.shape not in (shape, (count, *shape)) or redraw.dtype != bool:
    raise ValueError(
        f'redraw must be bool of shape {list(shape)} or {[count, *shape]}, over'
        f' pixels; got {redraw.dtype} of shape {list(redraw.shape)}.'
    )
  h, w, _ = code_shape
  redraw = np.broadcast_to(redraw, (count, *shape))
  patches = redraw.reshape(count, h, image_size // h, w, image_size // w)
  return patches.any(axis=(2, 4))


def pixels(chosen: np.ndarray, image_size: int) -> np.ndarray:
  """The pixels of positions: bool[B, H, W] -> bool[B, S, S, 1]."""
  _, h, w = chosen.shape
  rows = np.repeat(chosen, image_size // h, axis=1)
  return np.repeat(rows, image_size // w, axis=2)[..., None]
