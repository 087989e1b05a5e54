"""Sizes of images: one number for squares, or a height and a width."""

from typing import TypeAlias

# Side of a square in pixels, or (height, width).
ImageSize: TypeAlias = int | tuple[int, int]


def pair(image_size: ImageSize) -> tuple[int, int]:
  """Height and width of an image, in pixels."""
  if isinstance(image_size, int):
    return image_size, image_size
  height, width = image_size
  return height, width


def text(image_size: ImageSize) -> str:
  """Height x width in words, such as '256x256'."""
  height, width = pair(image_size)
  return f'{height}x{width}'


def typed(image_size: ImageSize) -> str:
  """The size as you would type it after a flag, such as '256' or '24,32'."""
  if isinstance(image_size, int):
    return str(image_size)
  return ','.join(map(str, image_size))
