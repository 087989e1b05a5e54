"""PSNR and SSIM agree with scikit-image and with closed forms."""

import numpy as np
import pytest

from rq_jax.evaluation import similarity
from tests.evaluation import metric_inputs
from tests.evaluation import recorded_metrics


@pytest.mark.parametrize('metric', ['psnr', 'ssim'])
def test_values_are_those_of_scikit_image(metric):
  recorded = recorded_metrics.tools()['similarity'][metric]
  found = getattr(similarity, metric)(*metric_inputs.image_pairs())
  np.testing.assert_allclose(found, recorded, rtol=1e-12)


def plain(value):
  return np.full((1, 16, 12, 3), value, np.uint8)


def test_equal_images_have_infinite_psnr_and_ssim_one():
  images, _ = metric_inputs.image_pairs()
  assert (similarity.psnr(images, images) == np.inf).all()
  np.testing.assert_allclose(similarity.ssim(images, images), 1, rtol=1e-12)


def test_plain_images_have_closed_forms():
  found = similarity.psnr(plain(10), plain(15))
  np.testing.assert_allclose(found, 20 * np.log10(255 / 5))
  found = similarity.psnr(plain(0), plain(255))
  np.testing.assert_allclose(found, 0, atol=1e-12)
  # Without structure, only the means differ.
  c1 = (0.01 * 255) ** 2
  expected = (2 * 10 * 200 + c1) / (10**2 + 200**2 + c1)
  found = similarity.ssim(plain(10), plain(200))
  np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_images_that_cannot_be_compared_are_refused():
  for metric in (similarity.psnr, similarity.ssim):
    with pytest.raises(ValueError, match='must be uint8.* float64'):
      metric(plain(0), plain(0) / 255)
    with pytest.raises(ValueError, match=r'must be uint8.*\[16, 12, 3\]'):
      metric(plain(0)[0], plain(0)[0])
    with pytest.raises(ValueError, match='pixel by pixel'):
      metric(plain(0), plain(0)[:, :12])
  with pytest.raises(ValueError, match='at least 11 x 11.* 10 x 12'):
    similarity.ssim(plain(0)[:, :10], plain(0)[:, :10])
