"""Preparation of images against Pillow, torchvision and TensorFlow."""

import functools

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax.checkpoints import networks
from rq_jax.evaluation import classifier_inputs
from tests import official
from tests import recipe

SIZES = ((256, 256), (300, 451), (517, 301), (8, 8), (70, 33), (224, 225))
STEP = 9  # Every 9th row and column is recorded.
PREPARE = (classifier_inputs.torchvision, classifier_inputs.efficientnet_lite0)


def prepared(prepare, image):
  result = jax.jit(prepare)(image[None])
  assert (result.shape, result.dtype) == ((1, 224, 224, 3), np.float32)
  return np.asarray(result[0])


def recorded(folder, size):
  return official.recording(folder)[f'{size[0]}x{size[1]}']


@pytest.mark.parametrize('size', SIZES)
def test_torchvision_prepares_images_equally(size):
  found = prepared(classifier_inputs.torchvision, recipe.image(*size))[
      ::STEP, ::STEP
  ]
  expected = recorded('torchvision_inputs', size)
  # A level of the pixels is 0.017, so all levels are equal.
  np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize('size', [*SIZES, (1, 5), (640, 1000)])
@pytest.mark.parametrize('shorter', [256, 232])
def test_resized_pixels_are_those_of_pillow(size, shorter):
  height, width = size
  short = min(size)
  image = recipe.image(*size, seed=3)
  resized = Image.fromarray(image).resize(
      (int(shorter * width / short), int(shorter * height / short)),
      Image.Resampling.BILINEAR,
  )
  left, top = (round((side - 224) / 2) for side in resized.size)
  expected = resized.crop((left, top, left + 224, top + 224))
  prepare = functools.partial(classifier_inputs.torchvision, shorter=shorter)
  found = prepared(prepare, image)
  mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
  levels = (found * np.array(std) + np.array(mean)) * 255
  np.testing.assert_array_equal(np.rint(levels), expected)
  np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)


@pytest.mark.parametrize('size', SIZES)
def test_tensorflow_prepares_images_equally(size):
  found = prepared(classifier_inputs.efficientnet_lite0, recipe.image(*size))
  expected = recorded('efficientnet_lite0_inputs', size)
  np.testing.assert_allclose(
      found[::STEP, ::STEP], expected, atol=1e-6, rtol=1e-6
  )


def test_the_square_of_a_tiny_image_is_a_pixel():
  image = np.full((1, 2, 3), 255, np.uint8)
  np.testing.assert_allclose(
      prepared(classifier_inputs.efficientnet_lite0, image), 1, rtol=1e-6
  )


@pytest.mark.parametrize('prepare', PREPARE)
def test_no_dtype_depends_on_x64(prepare):
  image = jax.ShapeDtypeStruct((1, 300, 451, 3), np.uint8)
  with jax.enable_x64(True):
    assert jax.eval_shape(prepare, image) == classifier_inputs.SHAPE


def test_images_of_a_batch_do_not_mix():
  images = np.stack([recipe.image(40, 30, seed) for seed in range(3)])
  for prepare in PREPARE:
    found = jax.jit(prepare)(images)
    for image, row in zip(images, found, strict=True):
      np.testing.assert_array_equal(prepared(prepare, image), row)


def described(kind, sha256):
  source = {'file': 'weights.pth', 'sha256': sha256}
  return networks.Description(
      kind=kind, fields={}, sources=(source,), fingerprint='0'
  )


@pytest.mark.parametrize(
    ('sha256', 'shorter'),
    [('63fe2227' + '0' * 56, 256), ('cd907fc2' + '0' * 56, 232)],
)
def test_the_second_weights_of_torchvision_see_more_of_an_image(
    sha256, shorter
):
  text, prepare = classifier_inputs.of_network(described('resnet', sha256))
  assert f'shorter side {shorter}' in text
  image = recipe.image(60, 40)
  expected = classifier_inputs.torchvision(image[None], shorter=shorter)
  np.testing.assert_array_equal(prepared(prepare, image), expected[0])
