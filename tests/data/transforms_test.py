"""Transforms agree with Pillow and torchvision, and draw crops in bounds."""

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from rq_jax import tokenizer
from rq_jax.data import transforms


@pytest.fixture(scope='module')
def photo():
  """uint8[427, 640, 3], a real photograph."""
  return datasets.load_sample_images().images[0]


def _coordinates(height, width):
  """An image whose pixels hold their row in channel 0, their column in 1."""
  image = np.zeros((height, width, 3), np.uint8)
  image[..., 0] = np.arange(height)[:, None]
  image[..., 1] = np.arange(width)
  return image


def _train(image, seed=0, **options):
  return tokenizer.to_uint8(
      transforms.train(image, np.random.default_rng(seed), **options)
  )


@pytest.mark.parametrize('transpose', [False, True])
def test_evaluation_is_pillows_bilinear_resize_and_the_center(photo, transpose):
  if transpose:
    photo = photo.transpose(1, 0, 2)
  size = (64, 95) if transpose else (95, 64)  # int(64 * 640 / 427) = 95
  resized = Image.fromarray(photo).resize(size, Image.BILINEAR)
  left = round((95 - 64) / 2)
  box = (0, left, 64, left + 64) if transpose else (left, 0, left + 64, 64)
  expected = np.asarray(resized.crop(box), np.float32) / 127.5 - 1
  result = transforms.evaluate(photo, image_size=64)
  assert result.dtype == np.float32
  np.testing.assert_allclose(result, expected, atol=1e-6)


def test_small_images_are_enlarged():
  image = np.full((3, 5, 3), 255, np.uint8)
  result = transforms.evaluate(image, image_size=8)
  np.testing.assert_array_equal(result, np.ones((8, 8, 3), np.float32))


@pytest.mark.parametrize('crop', transforms.CROPS[:2])
def test_an_image_of_the_right_size_keeps_its_pixels(photo, crop):
  image = photo[:32, :32]
  result = _train(image, image_size=32, crop=crop)
  np.testing.assert_array_equal(result, image)
  result = transforms.evaluate(image, image_size=32)
  np.testing.assert_array_equal(tokenizer.to_uint8(result), image)


def test_center_crop_rounds_half_to_even_as_torchvision():
  # (37 - 32) / 2 = 2.5 becomes 2, (39 - 32) / 2 = 3.5 becomes 4.
  for width, left in ((37, 2), (39, 4)):
    result = _train(_coordinates(32, width), image_size=32)
    np.testing.assert_array_equal(
        result, _coordinates(32, 80)[:, left:][:, :32]
    )


def test_random_crop_visits_every_offset_along_the_long_side():
  image = _coordinates(35, 32)
  offsets = set()
  for seed in range(60):
    result = _train(image, seed, image_size=32, crop='random')
    top = int(result[0, 0, 0])
    np.testing.assert_array_equal(result, image[top : top + 32])
    offsets.add(top)
  assert offsets == {0, 1, 2, 3}


def test_random_resized_crop_keeps_75_to_100_percent_of_the_area():
  image = _coordinates(200, 200)
  sides, centers = [], []
  for seed in range(300):
    pixels = _train(image, seed, image_size=8, crop='random_resized')
    inner = pixels[1:7, 1:7, :2].astype(float)  # Without border effects.
    sides.append(np.ptp(inner[..., 0]) * 8 / 5)
    centers.append(inner.mean(axis=(0, 1)))
  sides, centers = np.array(sides), np.array(centers)
  low, high = np.sqrt(0.75) * 200, 200  # 173.2, 200
  assert low - 2 < sides.min() < low + 3
  assert high - 3 < sides.max() < high + 2
  # Squares stay inside the image, and occur everywhere they fit.
  slack = (200 - sides[:, None]) / 2
  assert (np.abs(centers - 99.5) <= slack + 2).all()
  assert np.abs(centers - 99.5).max(axis=0).min() > 11


def test_random_resized_crop_is_one_resize_of_a_square(photo):
  class Fixed:
    """Draws a scale of 0.8, then the offsets 5 and 9."""

    offsets = iter((5, 9))

    def uniform(self, low, high):
      assert (low, high) == (0.75, 1.0)
      return 0.8

    def integers(self, high):
      offset = next(self.offsets)
      assert high == 400 - 358 + 1  # round(sqrt(0.8) * 400) = 358
      return offset

  image = photo[:400, :400]
  box = (9, 5, 9 + 358, 5 + 358)
  expected = Image.fromarray(image).crop(box).resize((64, 64), Image.BILINEAR)
  result = transforms.train(
      image, Fixed(), image_size=64, crop='random_resized'
  )
  np.testing.assert_array_equal(tokenizer.to_uint8(result), expected)


def test_random_resized_crop_of_a_long_picture_is_its_central_square():
  image = _coordinates(32, 200)
  result = _train(image, image_size=32, crop='random_resized')
  np.testing.assert_array_equal(result, image[:, 84:116])


def test_flip_mirrors_half_of_the_images_left_to_right():
  image = _coordinates(8, 8)
  flips = 0
  for seed in range(400):
    result = _train(image, seed, image_size=8, flip=True)
    flipped = result[0, 0, 1] == 7
    np.testing.assert_array_equal(result, image[:, ::-1] if flipped else image)
    flips += flipped
  assert 160 < flips < 240  # Four standard deviations.


def test_the_same_generator_state_gives_the_same_example(photo):
  options = {'image_size': 32, 'crop': 'random_resized', 'flip': True}
  first = _train(photo, 5, **options)
  np.testing.assert_array_equal(first, _train(photo, 5, **options))
  assert (first != _train(photo, 6, **options)).any()


def test_pixels_are_scaled_so_that_decoding_undoes_it_for_every_value():
  values = np.arange(256, dtype=np.uint8)
  image = np.repeat(values.reshape(16, 16, 1), 3, axis=2)
  floats = transforms.evaluate(image, image_size=16)
  assert (floats.min(), floats.max()) == (-1, 1)
  np.testing.assert_array_equal(tokenizer.to_uint8(floats), image)


def test_an_unknown_crop_and_a_float_image_are_refused():
  with pytest.raises(ValueError, match="'middle' is not one of center, random"):
    _train(_coordinates(8, 8), image_size=8, crop='middle')
  with pytest.raises(ValueError, match=r'float64\[8, 8, 3\]'):
    transforms.evaluate(np.zeros((8, 8, 3)), image_size=8)


@pytest.mark.parametrize('crop', transforms.CROPS)
def test_opencv_makes_the_same_crops_with_another_filter(photo, crop):
  options = dict(image_size=64, crop=crop, flip=True)
  slow = _train(photo, **options).astype(int)
  fast = _train(photo, decoder='opencv', **options).astype(int)
  other = _train(photo[:, ::-1], **options).astype(int)
  assert fast.shape == slow.shape
  assert 0 < np.abs(fast - slow).mean() < 3
  assert np.abs(other - slow).mean() > 20
