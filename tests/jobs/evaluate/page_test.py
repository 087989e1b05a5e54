"""The page: numbers, copies, classes and images."""

import numpy as np
import pytest

from rq_jax.jobs.evaluate import job
from tests import pages
from tests.jobs.evaluate import fakes


@pytest.fixture
def found(tmp_path, monkeypatch):
  """Results of samples of four classes, the last of them unlike its reference.

  Sample 9 is a copy of image 4 of the reference.
  """
  labels = np.arange(120) % 4
  reference, samples = fakes.images(120, 1), fakes.images(120)
  for c in range(4):
    # Classes have different colours.
    reference[labels == c, ..., :2] //= c + 2
    samples[labels == c, ..., :2] //= c + 2
  samples[labels == 3] = 255 - samples[labels == 3]
  samples[9] = reference[4]
  np.savez(tmp_path / 'a.npz', samples, labels)
  np.savez(tmp_path / 'b.npz', reference, labels)
  with fakes.networks_replaced(monkeypatch):
    results = fakes.evaluate(
        tmp_path / 'out', str(tmp_path / 'a.npz'), str(tmp_path / 'b.npz')
    )
  return results, (tmp_path / 'out' / job.PAGE).read_text(), samples


def test_the_page_shows_the_numbers(found):
  results, text, _ = found
  page = pages.Page(text)
  by_metric = {result['metric']: result for result in results['results']}
  assert f'{by_metric["fid"]["value"]:.4f}' in page.text
  low, high = by_metric['fid']['interval']
  assert f'{low:.4f} to {high:.4f}' in page.text
  for n in (15, 30, 60, 120):
    assert f'{n} ' in page.text
  assert 'aria-label="fid (rq), over images' in text
  assert by_metric['fid']['fingerprint']['hash'] in page.text
  assert '--lpips is not given' in page.text


def test_the_copy_and_its_original_stand_first_side_by_side(found):
  results, text, samples = found
  assert results['nearest']['pairs'][0]['sample'] == 9
  assert results['nearest']['pairs'][0]['reference'] == 4
  first = pages.images(text)['Sample 9 and reference 4']
  np.testing.assert_array_equal(first[2:18, 2:18], samples[9])
  np.testing.assert_array_equal(first[2:18, 20:36], samples[9])


def test_the_class_unlike_its_reference_is_the_worst(found):
  results, text, samples = found
  assert results['classes']['figure'] == 'kernel distance'
  assert results['classes']['worst'][0]['class'] == 3
  assert results['classes']['distinct']
  assert 'can be told apart' in pages.Page(text).text
  worst = pages.images(text)['Images of class 3']
  np.testing.assert_array_equal(worst[2:18, 2:18], samples[3])
  np.testing.assert_array_equal(worst[2:18, 20:36], samples[7])


def test_grids_show_64_images_in_rows_of_16(found):
  _, text, samples = found
  grid = pages.images(text)['Samples']
  assert 'The first 64 of them.' in pages.Page(text).text
  assert grid.shape == (2 + 4 * 18, 2 + 16 * 18, 3)
  np.testing.assert_array_equal(grid[-18:-2, -18:-2], samples[63])


def test_strips_of_classes_show_16_images(found):
  _, text, samples = found
  strip = pages.images(text)['Images of class 3']
  assert strip.shape == (2 + 18, 2 + 16 * 18, 3)
  # Every fourth image is of class 3, beginning with image 3.
  np.testing.assert_array_equal(strip[2:18, -18:-2], samples[3 + 4 * 15])
