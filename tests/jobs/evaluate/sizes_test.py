"""Images of different sizes are refused before anything is computed."""

import tarfile

import numpy as np
from PIL import Image
import pytest

from rq_jax.config import sections
from rq_jax.data import image_files
from rq_jax.distributed import progress
from rq_jax.jobs import manifest
from rq_jax.jobs.evaluate import job
from rq_jax.jobs.evaluate import listed_images
from rq_jax.jobs.evaluate import opening
from tests.jobs.evaluate import fakes

COUNT = 40


def write_folder(folder, last=(20, 18)):
  """Images of 16x16 pixels, and a last one of `last`: height and width."""
  folder.mkdir(parents=True)
  for i, pixels in enumerate(fakes.images(COUNT)):
    Image.fromarray(pixels).save(folder / f'{i:03d}.png')
  pixels = fakes.images(1, size=20)[0, : last[0], : last[1]]
  Image.fromarray(pixels).save(folder / f'{COUNT:03d}.png')
  return str(folder)


def write_tar(path, **last):
  folder = write_folder(path, **last)
  with tarfile.open(f'{path}.tar', 'w') as tar:
    for file in sorted(path.iterdir()):
      tar.add(file, file.name)
  return f'{folder}.tar'


def write_split(path, **last):
  write_folder(path / 'train', **last)
  write_folder(path / 'test', **last)
  return f'{path}:test'


FORMS = {'folder': write_folder, 'tar': write_tar, 'split': write_split}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('at_once', [7, 4096])
def test_headers_show_the_image_of_another_size(
    form, at_once, tmp_path, monkeypatch
):
  monkeypatch.setattr(progress, '_AT_ONCE', at_once)
  monkeypatch.setattr(image_files.Reader, '_pixels', None)  # None is decoded.
  mixed = FORMS[form](tmp_path / 'mixed')
  images = opening.open_images(mixed, flag='--samples')
  assert images.size() == (16, 16)
  words = r'000.png.* has 16x16 pixels, .*040.png.* 20x18.*Set --image_size'
  with pytest.raises(ValueError, match=words):
    images.check_sizes()
  same = FORMS[form](tmp_path / 'same', last=(16, 16))
  opening.open_images(same, flag='--samples').check_sizes()
  fitted = opening.open_images(mixed, flag='--samples', image_size=8)
  fitted.check_sizes()
  assert fitted.size() == (8, 8)


def test_other_sources_are_measured_by_their_pixels():
  class Source:
    listing = None

    def __len__(self):
      return 3

    def __getitem__(self, index):
      return {'image': np.zeros((4, 5 + index // 2, 3), np.uint8)}

  images = listed_images.of_split(
      Source(), 'test', data=sections.Data(), flag='x', image_size=None
  )
  with pytest.raises(ValueError, match='test 0 has 4x5 .*test 2 4x6'):
    images.check_sizes()


def test_a_job_that_has_begun_measures_nothing_again(tmp_path, monkeypatch):
  same, out = write_folder(tmp_path / 'same', last=(16, 16)), tmp_path / 'out'
  with fakes.networks_replaced(monkeypatch):
    first = fakes.evaluate(out, same)
    assert (out / manifest.NAME).exists()
    (out / job.RESULTS).unlink()
    monkeypatch.setattr(image_files.Reader, 'size', None)
    assert fakes.evaluate(out, same) == first
