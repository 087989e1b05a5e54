"""Crops that are not square agree with Pillow and with torchvision's ratios."""

import math

import numpy as np
from PIL import Image
import pytest

from rq_jax import tokenizer
from rq_jax.data import transforms
from rq_jax.data.sources import digits

# Height and width of pictures, of the result, and of the resized picture.
COVERED = [
    ((100, 300), (24, 32), (24, 72)),  # The height decides: 24 * 300 / 100.
    ((100, 120), (24, 32), (26, 32)),  # The width: 32 * 100 / 120 = 26.67.
    ((300, 100), (24, 32), (96, 32)),
    ((75, 100), (24, 32), (24, 32)),  # The same shape: nothing is cut.
    ((50, 50), (32, 24), (32, 32)),
    ((3, 5), (24, 32), (24, 40)),  # Small pictures are enlarged.
]


def _picture(size, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (*size, 3), dtype=np.uint8)


def _resized(image, box, size):
  """The rows and columns of a box, resized by Pillow to (height, width)."""
  top, left, bottom, right = box
  cut = Image.fromarray(image).crop((left, top, right, bottom))
  return np.asarray(cut.resize(size[::-1], Image.BILINEAR))


def _train(image, seed=0, **options):
  return tokenizer.to_uint8(
      transforms.train(image, np.random.default_rng(seed), **options)
  )


@pytest.mark.parametrize(('size', 'target', 'covering'), COVERED)
def test_a_picture_is_resized_to_cover_and_cut_at_the_center(
    size, target, covering
):
  image = _picture(size)
  whole = _resized(image, (0, 0, *size), covering)
  top, left = (round((c - t) / 2) for c, t in zip(covering, target))
  expected = whole[top : top + target[0], left : left + target[1]]
  result = tokenizer.to_uint8(transforms.evaluate(image, image_size=target))
  np.testing.assert_array_equal(result, expected)
  np.testing.assert_array_equal(_train(image, image_size=target), expected)


@pytest.mark.parametrize(('size', 'target', 'covering'), COVERED)
def test_random_crops_are_cut_from_the_covering_picture(size, target, covering):
  image = _picture(size)
  whole = _resized(image, (0, 0, *size), covering)
  for seed in range(3):
    rng = np.random.default_rng(seed)
    top, left = rng.integers(np.subtract(covering, target) + 1)
    np.testing.assert_array_equal(
        _train(image, seed, image_size=target, crop='random'),
        whole[top : top + target[0], left : left + target[1]],
    )


def _torchvision_box(size, ratio, uniform, integers):
  """The box of RandomResizedCrop(scale=(0.75, 1), ratio=(ratio, ratio)).

  Written after its documentation; draws come from the two functions.
  """
  height, width = size
  for _ in range(10):
    area = height * width * uniform(0.75, 1.0)
    w = int(round(math.sqrt(area * ratio)))
    h = int(round(math.sqrt(area / ratio)))
    if 0 < w <= width and 0 < h <= height:
      top, left = integers(height - h + 1), integers(width - w + 1)
      return top, left, top + h, left + w
  if width / height < ratio:
    w, h = width, int(round(width / ratio))
  else:
    w, h = int(round(height * ratio)), height
  # torchvision rounds down here; ours rounds as in all other central crops.
  top, left = round((height - h) / 2), round((width - w) / 2)
  return top, left, top + h, left + w


@pytest.mark.parametrize('target', [(24, 32), (32, 24), (16, 64)])
@pytest.mark.parametrize('size', [(120, 160), (150, 120), (64, 400), (400, 64)])
def test_random_resized_crops_have_torchvisions_boxes(size, target):
  image = _picture(size)
  for seed in range(5):
    rng = np.random.default_rng(seed)
    box = _torchvision_box(
        size, target[1] / target[0], rng.uniform, rng.integers
    )
    np.testing.assert_array_equal(
        _train(image, seed, image_size=target, crop='random_resized'),
        _resized(image, box, target),
    )


@pytest.mark.parametrize('crop', transforms.CROPS)
@pytest.mark.parametrize('size', [(1, 1), (1, 50), (50, 1)])
def test_pictures_of_a_line_of_pixels_are_taken(size, crop):
  image = np.full((*size, 3), 255, np.uint8)
  for target in ((8, 64), (64, 8)):
    result = _train(image, image_size=target, crop=crop)
    np.testing.assert_array_equal(result, np.full((*target, 3), 255))


def test_digits_are_cut_from_squares_of_the_longer_side():
  square = digits.Digits('test', 32)[5]['image']
  example = digits.Digits('test', (24, 32))[5]['image']
  np.testing.assert_array_equal(example, square)
  cut = tokenizer.to_uint8(transforms.evaluate(example, image_size=(24, 32)))
  np.testing.assert_array_equal(cut, square[4:28])
