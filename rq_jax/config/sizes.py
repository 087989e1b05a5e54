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


def check_encodable(data: ImageSize, tokenizer: ImageSize) -> None:
  """Checks that the images of the data have the size that a tokenizer encodes.

  Args:
    data: `config.data.image_size`.
    tokenizer: Size of the images that the tokenizer was trained on.

  Raises:
    ValueError: If the sizes differ.
  """
  if pair(data) != pair(tokenizer):
    high, wide = pair(tokenizer)
    typed = high if high == wide else f'{high},{wide}'
    raise ValueError(
        f'config.data.image_size={data}, but the tokenizer encodes images of'
        f' {text(tokenizer)} pixels. Set --config.data.image_size={typed}.'
    )
