"""Facts of images: sizes, hashes, colours and headers, read in parallel."""

import io

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from rq_jax.config import sections
from rq_jax.data.sources import image_folder
from rq_jax.jobs.inspect import data
from rq_jax.jobs.inspect import detection
from rq_jax.jobs.inspect import reading
from tests.data import tars
from tests.data import tfds_datasets
from tests.jobs.inspect import images


@pytest.fixture(scope='module')
def found(tmp_path_factory):
  folder = images.write(tmp_path_factory.mktemp('images'))
  return reading.read(images.data(folder))


def _by_name(split):
  return {
      split.name_of(int(row['index'])).rpartition('/')[2]: row
      for row in split.rows
  }


def test_every_readable_image_has_the_size_and_label_of_its_example(found):
  split = found['train']
  assert len(split.rows) == 12
  for row in split.rows:
    example = split.source[int(row['index'])]
    assert example['image'].shape[:2] == (row['height'], row['width'])
    assert example['label'] == row['label']


def test_thumbnails_are_means_of_the_grey_image(found):
  thumbnail = _by_name(found['train'])['grey.png']['thumbnail']
  grey = np.asarray(images.noise(4).convert('L'), np.float64)
  means = grey.reshape(8, 5, 8, 6).mean(axis=(1, 3))
  np.testing.assert_allclose(thumbnail, means, atol=0.5)


def test_digests_are_equal_exactly_for_equal_pixels(found):
  train, test = _by_name(found['train']), _by_name(found['test'])
  equal = train['0.png'], train['copy of cat 0.png']
  # The last of two files named 0.png is that of the class dog.
  assert equal[0]['digest'] != equal[1]['digest']
  assert test['leaked.png']['digest'] != test['again.jpg']['digest']
  digests = np.concatenate([s.rows['digest'] for s in found.values()])
  assert len(digests) - len(np.unique(digests)) == 2


def test_colours_transparency_and_rotation_are_found(found):
  rows = _by_name(found['train'])
  for fact, name in (
      ('grey', 'grey.png'),
      ('alpha', 'transparent.png'),
      ('rotated', 'rotated.jpg'),
  ):
    assert [n for n, row in rows.items() if row[fact]] == [name]


@pytest.mark.parametrize('kind', ['jpg', 'png', 'webp'])
def test_a_file_with_damaged_exif_data_has_no_rotation(tmp_path, kind):
  for i in range(5):
    file = tmp_path / f'{i}.{kind}'
    images.noise(i).save(file, exif=b'Exif\0\0no header of TIFF')
  found = reading.read(images.data(tmp_path))['train']
  assert len(found.rows) == 4 and not found.rows['rotated'].any()


_ENDINGS = 'jpg', 'jpg', 'png', 'png', 'png'


def _contents():
  """Image files: one without, two with a rotation, and two with transparency.

  They have the sizes 48 x 40, 90 x 30, 88 x 24, 48 x 40 and 48 x 40.
  """
  transparent = images.noise(3).convert('RGBA')
  transparent.putalpha(128)
  rotated = {'exif': images.rotation()}
  for image, kind, options in (
      (images.noise(1), 'JPEG', {}),
      (images.noise(2, 30, 90), 'JPEG', rotated),
      (images.noise(2, 24, 88), 'PNG', rotated),
      (transparent, 'PNG', {}),
      (images.noise(4).convert('P'), 'PNG', {'transparency': 0}),
  ):
    file = io.BytesIO()
    image.save(file, kind, **options)
    yield file.getvalue()


def _write_tars(folder, contents):
  for split in ('train', 'test'):
    names = [f'{i}.{ending}' for i, ending in enumerate(_ENDINGS)]
    tars.write(folder / f'{split}.tar', dict(zip(names, contents)))


def _write_tfds(folder, contents):
  splits = {
      split: [{'image': io.BytesIO(content)} for content in contents]
      for split in ('train', 'test')
  }
  features = {'image': tfds.features.Image(shape=(None, None, 3))}
  tfds_datasets.write(folder, splits, features)


@pytest.mark.parametrize(
    ('source', 'write'), [('tfds', _write_tfds), ('webdataset', _write_tars)]
)
def test_headers_are_read_inside_larger_files(tmp_path, source, write):
  write(tmp_path, list(_contents()))
  assert detection.source_of(str(tmp_path)) == source
  section = sections.Data(source=source, path=str(tmp_path))
  found = reading.read(section)
  # TFDS shuffles the examples that it prepares.
  rows = found['train'].rows[['height', 'width', 'rotated', 'alpha']]
  assert sorted(rows.tolist()) == [
      (40, 48, False, False),
      (40, 48, False, True),
      (40, 48, False, True),
      (88, 24, True, False),  # The sizes are those of the rotated pixels.
      (90, 30, True, False),
  ]
  figures = data.describe(found)  # Of both splits.
  assert (figures['rotated'], figures['alpha']) == (4, 4)


def test_a_broken_file_is_named_and_has_no_row(found):
  (broken,) = found['train'].broken
  assert 'empty.jpg is not a JPEG, PNG or WebP file' in broken.reason
  assert found['train'].name_of(broken.index).endswith('empty.jpg')
  assert not found['test'].broken


def test_images_are_distinguished_by_shape_even_if_their_bytes_agree(tmp_path):
  for i, shape in enumerate([(4, 6), (6, 4)] * 3):
    pixels = np.zeros((*shape, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{i}.png')
  rows = reading.read(images.data(tmp_path))['train'].rows
  assert len(np.unique(rows['digest'])) == 2


def test_a_sample_is_spaced_evenly(tmp_path):
  for i in range(20):
    images.noise(i, 8 + i, 8).save(tmp_path / f'{i:02}.png')
  found = reading.read(images.data(tmp_path), num_images=4)
  assert found['train'].rows['index'].tolist() == [0, 4, 8, 12]
  assert found['test'].rows['index'].tolist() == [0, 1, 2, 3]
  assert found['train'].num_read == 4


@pytest.mark.parametrize(('count', 'most'), [(7, 3), (7, 7), (3, 9), (3, None)])
def test_spaced_indices_are_distinct_and_in_range(count, most):
  found = reading.spaced(count, most).tolist()
  assert found == sorted(set(found))
  assert len(found) == min(count, most or count)
  assert found[0] == 0 and found[-1] < count


def test_a_source_without_files_has_names_of_its_own():
  split = reading.Split(
      name='test', source=object(), rows=np.zeros(0, reading.ROW), broken=()
  )
  assert split.name_of(3) == 'test 3'


def test_the_image_folder_names_the_file_of_every_example(tmp_path):
  images.write(tmp_path)
  source = image_folder.ImageFolder(tmp_path, 'test')
  files = [source.path(i) for i in range(len(source))]
  assert [file.rpartition('/')[2] for file in files] == [
      'again.jpg',
      'leaked.png',
      '0.png',
  ]
