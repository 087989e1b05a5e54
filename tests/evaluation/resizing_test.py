"""Resizing, against recordings of pytorch-fid, torch-fidelity and clean-fid."""

import functools
import hashlib
import importlib.metadata
import pathlib

import jax
import numpy as np
import pytest

from rq_jax.evaluation import resizing
from tests import official
from tests.evaluation import pictures

# The options of the compiler that programs outside of the tests have.
DEFAULTS = {'xla_backend_optimization_level': 3}
if importlib.metadata.version('jaxlib').startswith('0.10.'):
  DEFAULTS['xla_cpu_use_fusion_emitters'] = True


@pytest.fixture(scope='module')
def recorded():
  with np.load(official.FIXTURES / 'resizing' / 'io.npz') as recorded:
    return dict(recorded)


def resize(method, image, *, size=299, **options):
  """Pixels of an image, or of several of equal size."""
  function = functools.partial(resizing.METHODS[method], size=size)
  if method not in resizing.ON_HOST:
    function = jax.jit(function, **options)
  if image.ndim == 4:
    return np.asarray(function(image))
  return np.asarray(function(image[None]))[0]


@pytest.mark.parametrize('name', pictures.IMAGES)
@pytest.mark.parametrize('method', ['bilinear_tensorflow1', 'bicubic_pillow'])
def test_all_pixels_equal_those_of_the_tool(recorded, method, name):
  pixels = resize(method, pictures.IMAGES[name])
  crop = recorded[f'{method}/{name}/crop']
  np.testing.assert_array_equal(pixels[pictures.CROP], crop)
  digest = hashlib.sha256(pixels.tobytes()).hexdigest()
  assert digest == recorded[f'{method}/{name}/sha256']
  assert pixels.dtype == np.float32


@pytest.mark.parametrize('name', pictures.IMAGES)
def test_half_pixels_differ_from_pytorch_in_the_last_places_only(
    recorded, name
):
  """Tests compile without fusing a product and a sum, unlike PyTorch."""
  pixels = resize('bilinear_half_pixel', pictures.IMAGES[name])
  crop = recorded[f'bilinear_half_pixel/{name}/crop']
  np.testing.assert_allclose(pixels[pictures.CROP], crop, rtol=0, atol=2.4e-7)
  assert pixels.dtype == np.float32


def has_fused_operations():
  """Whether the processor multiplies and adds in one operation."""
  try:
    return ' fma ' in pathlib.Path('/proc/cpuinfo').read_text()
  except OSError:
    return False


@pytest.mark.skipif(not has_fused_operations(), reason='needs a CPU with FMA')
@pytest.mark.parametrize('name', ['noise_37x51', 'noise_601x298'])
def test_as_compiled_by_default_half_pixels_equal_those_of_pytorch(
    recorded, name
):
  image = pictures.IMAGES[name]
  pixels = resize('bilinear_half_pixel', image, compiler_options=DEFAULTS)
  digest = hashlib.sha256(pixels.tobytes()).hexdigest()
  assert digest == recorded[f'bilinear_half_pixel/{name}/sha256']


def test_pixels_of_equal_size_stay():
  image = pictures.IMAGES['noise_299x299']
  unit = image / np.float32(255)
  np.testing.assert_array_equal(resize('bilinear_half_pixel', image), unit)
  for method in ('bilinear_tensorflow1', 'bicubic_pillow'):
    np.testing.assert_array_equal(resize(method, image), image)


def test_other_sizes_are_possible():
  """In the middle of an edge, TF1 leaves what half-pixel centers mix."""
  image = np.zeros((2, 2, 3), np.uint8)
  image[:, 1] = 200
  corners = resize('bilinear_tensorflow1', image, size=4)
  np.testing.assert_allclose(corners[0, :, 0], [0, 100, 200, 200])
  centers = resize('bilinear_half_pixel', image, size=4)
  np.testing.assert_allclose(
      255 * centers[0, :, 0], [0, 50, 150, 200], atol=1e-4
  )
  assert resize('bicubic_pillow', image, size=4).shape == (4, 4, 3)


def test_bicubic_pixels_are_clipped_but_not_rounded():
  pixels = resize('bicubic_pillow', pictures.IMAGES['edges_64x64'])
  assert pixels.min() == 0 and pixels.max() == 255
  assert (pixels != np.round(pixels)).any()


def test_each_image_of_a_batch_is_resized_by_itself():
  images = np.stack(
      [pictures.IMAGES['noise_64x64'], pictures.IMAGES['edges_64x64']]
  )
  for method in resizing.METHODS:
    both = resize(method, images, size=40)
    for image, pixels in zip(images, both, strict=True):
      np.testing.assert_array_equal(resize(method, image, size=40), pixels)


def test_scales_map_pixels_to_the_range_of_the_network():
  np.testing.assert_array_equal(
      resizing.SCALES['2x-1'](np.float32([0, 0.5, 1])), [-1, 0, 1]
  )
  np.testing.assert_array_equal(
      resizing.SCALES['(x-128)/128'](np.float32([0, 128, 255])),
      [-1, 0, 127 / 128],
  )
