"""Extractors, with small stubs in place of the converted networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.checkpoints import networks
from rq_jax.distributed import partitioning
from rq_jax.evaluation import dialects
from rq_jax.evaluation import extractors
from rq_jax.evaluation import resizing
from rq_jax.models import inception

SIZE = 16


class Stub(nn.Module):
  """Has the outputs of `InceptionV3`, of a few pixels.

  It adds nothing up: sums of a convolution depend on the size of the batch, by
  a rounding error.
  """

  @nn.compact
  def __call__(self, images):
    scale = self.param('scale', nn.initializers.normal(), (1, 1, 1, 3))
    x = nn.max_pool(images, (5, 5), strides=(4, 4)) * scale
    pool = x.reshape(len(x), -1)
    return {
        'pool': pool,
        'spatial': pool[:, :7],
        'logits': pool[:, :5] + 1,
        'unbiased_logits': pool[:, :5],
    }


@pytest.fixture(scope='module')
def variables():
  return Stub().init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))


def images(count, height=20, width=24):
  rng = np.random.default_rng(count)
  return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def extractor(variables, *, resize='bilinear_tensorflow1', **options):
  defaults = {'keys': {'pool': 'pool'}, 'description': {}}
  return extractors.Extractor(
      Stub(),
      variables,
      resize=resize,
      size=SIZE,
      scale=resizing.SCALES['(x-128)/128'],
      **(defaults | options),
  )


@pytest.mark.parametrize('resize', resizing.METHODS)
def test_features_are_those_of_resized_and_scaled_images(variables, resize):
  given = images(3)
  found = extractor(variables, resize=resize)(given)
  pixels = resizing.METHODS[resize](given, SIZE)
  expected = Stub().apply(variables, (pixels - 128) / 128)['pool']
  np.testing.assert_allclose(found['pool'], expected, rtol=1e-5, atol=1e-5)
  assert found['pool'].dtype == np.float32
  assert isinstance(found['pool'], np.ndarray)


@pytest.mark.parametrize('count', [1, 8, 17])
def test_any_number_of_images_gives_as_many_features(variables, count):
  given = images(count)
  found = extractor(variables)(given)['pool']
  assert len(found) == count
  one = extractor(variables)
  for image, row in zip(given, found, strict=True):
    np.testing.assert_array_equal(one(image[None])['pool'][0], row)


def test_features_do_not_depend_on_the_position_in_a_batch(variables):
  given = images(8)
  found = extractor(variables)(given)['pool']
  turned = extractor(variables)(given[::-1])['pool'][::-1]
  np.testing.assert_array_equal(found, turned)


@pytest.mark.parametrize('resize', ['bilinear_half_pixel', 'bicubic_pillow'])
def test_several_devices_give_the_features_of_one(variables, resize):
  given = images(67)
  mesh = partitioning.make_mesh({'data': 8})
  copies = jax.device_put(variables, partitioning.replicated(mesh))
  several = extractor(copies, resize=resize, mesh=mesh)
  one = extractor(variables, resize=resize)
  np.testing.assert_allclose(
      several(given)['pool'], one(given)['pool'], rtol=1e-6, atol=1e-6
  )


def test_images_of_different_sizes_come_one_size_at_a_time(variables):
  one = extractor(variables)
  assert one(images(2, 40, 8))['pool'].shape == one(images(2))['pool'].shape


@pytest.mark.parametrize(
    'given,match',
    [
        (
            np.zeros((1, 8, 8, 3)),
            r'are float64\[1, 8, 8, 3\], but must be uint8',
        ),
        (np.zeros((8, 8, 3), np.uint8), r'uint8\[8, 8, 3\]'),
        (np.zeros((1, 8, 8, 4), np.uint8), r'uint8\[1, 8, 8, 4\]'),
        (np.zeros((0, 8, 8, 3), np.uint8), 'at least one image'),
        (np.zeros((1, 0, 8, 3), np.uint8), 'at least one pixel'),
    ],
)
def test_what_are_no_images_is_refused(variables, given, match):
  with pytest.raises(ValueError, match=match):
    extractor(variables)(given)


@pytest.fixture
def stubbed(monkeypatch):
  """Puts the stub in the place of Inception."""
  monkeypatch.setattr(inception, 'InceptionV3', Stub)


def converted(folder):
  """A folder with the stub, as `convert --from=inception` would write it."""
  size = resizing.INCEPTION_SIZE
  shapes = jnp.zeros((1, size, size, 3))
  variables = Stub().init(jax.random.key(1), shapes)
  return networks.write(
      folder,
      'inception',
      variables,
      sources=[{'file': 'stub.pth', 'sha256': '12' * 32}],
  )


def test_each_dialect_gets_the_outputs_that_it_reads(stubbed, tmp_path):
  described = converted(tmp_path / 'network')
  given = images(1)
  found = {}
  for name, dialect in dialects.DIALECTS.items():
    one = extractors.inception(dialect, tmp_path / 'network')
    found[name] = one(given)
    assert one.description['weights'] == described.fingerprint
    assert one.description['resize'] == f'{dialect.resize} to 299x299'
  assert {name: set(features) for name, features in found.items()} == {
      'adm': {'pool', 'spatial', 'logits'},
      'pytorch-fid': {'pool'},
      'torch-fidelity': {'pool', 'logits'},
      'clean-fid': {'pool'},
      'rq': {'pool', 'logits'},
  }
  # Only one of these has a bias, of 1 in the stub.
  for name, bias in {'adm': 0, 'torch-fidelity': 0, 'rq': 1}.items():
    pool, logits = found[name]['pool'], found[name]['logits']
    np.testing.assert_allclose(logits, pool[:, :5] + bias, atol=1e-6)
  np.testing.assert_array_equal(
      found['rq']['pool'], found['pytorch-fid']['pool']
  )


def test_a_folder_of_another_network_is_refused(stubbed, tmp_path):
  folder = tmp_path / 'network'
  converted(folder)
  description = folder / networks.NAME
  text = description.read_text().replace('"inception"', '"vgg16"')
  description.write_text(text)
  with pytest.raises(ValueError, match='--inception=.* holds the network "vgg'):
    extractors.inception(dialects.DIALECTS['rq'], folder)


def test_vgg16_gets_pixels_by_mean_and_deviation():
  """Numbers of torchvision's documentation, for pixels in [0, 255]."""
  pixels = np.full((1, 1, 1, 3), 255, np.float32)
  expected = (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
  np.testing.assert_allclose(
      extractors._by_mean_and_deviation(pixels)[0, 0, 0], expected, rtol=1e-6
  )
