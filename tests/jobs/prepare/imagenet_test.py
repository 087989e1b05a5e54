"""The official archives of ImageNet are read without unpacking them."""

import io
import tarfile

import numpy as np
from PIL import Image
import pytest

from rq_jax.data import image_files
from rq_jax.jobs.prepare import devkit as devkit_lib
from rq_jax.jobs.prepare import imagenet
from rq_jax.jobs.prepare import origins
from tests.jobs.prepare import archives


@pytest.fixture
def downloads(tmp_path):
  """A folder with the three archives."""
  return archives.write(tmp_path / 'downloads')


def test_images_have_their_bytes_names_and_labels(downloads):
  opened = origins.open_splits('imagenet', str(downloads))
  assert list(opened) == ['train', 'validation']
  train = opened['train']
  expected = [
      (f'{wnid}/{name}', content, archives.WNIDS.index(wnid))
      for wnid, images in archives.training().items()
      for name, content in images.items()
  ]
  read = [train[i] for i in range(len(train))]
  assert [(r.name, r.content, r.label) for r in read] == expected
  assert train.num_bytes == sum(len(content) for _, content, _ in expected)


def test_validation_labels_are_those_of_the_devkit(downloads):
  validation = imagenet.open_splits(str(downloads))['validation']
  read = [validation[i] for i in range(len(validation))]
  assert {r.name: r.content for r in read} == archives.validation()
  assert tuple(r.label for r in read) == archives.TRUTH_LABELS
  assert not validation.has_texts and read[0].text is None


def test_classes_are_sorted_by_identifier_and_have_unique_names(downloads):
  for origin in imagenet.open_splits(str(downloads)).values():
    assert origin.class_names == archives.CLASS_NAMES
    assert origin.num_classes == 3
  kit = devkit_lib.read(str(downloads / 'ILSVRC2012_devkit_t12.tar.gz'))
  assert kit.wnids == archives.WNIDS


@pytest.mark.parametrize(
    ('name', 'kind', 'mode'),
    [
        ('n01440764/n01440764_1.JPEG', 'JPEG', 'CMYK'),
        ('n02012849/n02012849_2.JPEG', 'PNG', 'RGB'),
    ],
)
def test_files_that_are_not_what_their_names_say_can_be_read(
    downloads, name, kind, mode
):
  train = imagenet.open_splits(str(downloads))['train']
  read = {raw.name: raw for raw in map(train.__getitem__, range(len(train)))}
  content = read[name].content
  with Image.open(io.BytesIO(content), formats=('JPEG', 'PNG')) as image:
    assert (image.format, image.mode) == (kind, mode)
    expected = np.asarray(image.convert('RGB'))
  decoded = image_files.Reader().decode(content, name)
  np.testing.assert_array_equal(decoded, expected)


def test_the_devkit_may_be_a_folder_or_lie_elsewhere(downloads, tmp_path):
  archive = downloads / 'ILSVRC2012_devkit_t12.tar.gz'
  expected = devkit_lib.read(str(archive))
  with tarfile.open(archive) as opened:
    opened.extractall(downloads, filter='data')
  moved = archive.rename(tmp_path / 'kit.tar.gz')
  unpacked = str(downloads / 'ILSVRC2012_devkit_t12')
  for path in (str(moved), unpacked):
    found = devkit_lib.read(path)
    assert found.class_names == expected.class_names
    np.testing.assert_array_equal(found.validation, expected.validation)
  # The folder in SRC is found without the flag.
  listed = [
      imagenet.open_splits(str(downloads), devkit)['validation'].listing
      for devkit in (None, unpacked, str(moved))
  ]
  assert len(set(listed)) == 1


def test_listings_notice_other_labels_and_files(downloads):
  before = imagenet.open_splits(str(downloads))
  images = archives.validation()
  images['ILSVRC2012_val_00000002.JPEG'] = archives.picture(0, kind='PNG')
  (downloads / imagenet.VALIDATION).write_bytes(archives.tar(images))
  after = imagenet.open_splits(str(downloads))
  assert before['train'].listing == after['train'].listing
  assert before['validation'].listing != after['validation'].listing
  assert before['train'].listing != before['validation'].listing


def test_names_need_not_be_utf_8(downloads):
  odd = 'n01440764_\udcff.JPEG'
  inner = archives.tar({odd: archives.picture(0)})
  (downloads / imagenet.TRAIN).write_bytes(
      archives.tar({'n01440764.tar': inner})
  )
  train = imagenet.open_splits(str(downloads))['train']
  assert len(train.listing) == 64
  assert train[0].name == f'n01440764/{odd}'


def _without(name):
  return lambda folder: (folder / name).unlink()


def _with(name, content):
  return lambda folder: (folder / name).write_bytes(content)


KIT = 'ILSVRC2012_devkit_t12.tar.gz'
FEWER = dict(list(archives.validation().items())[:-1])
REFUSED = [
    (_without(imagenet.TRAIN), '--src=.* lacks ILSVRC2012_img_train.tar, but'),
    (_without(KIT), '--devkit=.*devkit_t12.tar.gz does not exist'),
    (_with(KIT, b'no archive'), 'is not a whole tar archive'),
    (_with(KIT, archives.tar({'x/y': b''})), 'has no data/meta.mat, so'),
    (
        _with(
            KIT,
            archives.tar(
                {
                    'x/data/meta.mat': b'?',
                    'x/data/ILSVRC2012_validation_ground_truth.txt': b'1\n',
                }
            ),
        ),
        'is damaged: data/meta.mat',
    ),
    (
        _with(imagenet.VALIDATION, archives.tar(FEWER)),
        'has 3 images, but the devkit has 4 labels',
    ),
    (
        _with(imagenet.VALIDATION, archives.tar({'a.JPEG': b''})),
        'contains a.JPEG, which has no label in the devkit',
    ),
    (
        _with(
            imagenet.TRAIN, archives.tar({'n09.tar': archives.tar({'a': b''})})
        ),
        'contains n09.tar/a, which belongs to no class of the devkit',
    ),
]


@pytest.mark.parametrize(('change', 'words'), REFUSED)
def test_archives_that_do_not_fit_are_refused(downloads, change, words):
  change(downloads)
  with pytest.raises(ValueError, match=words):
    imagenet.open_splits(str(downloads))


def test_an_incomplete_folder_of_the_devkit_is_refused(downloads, tmp_path):
  (tmp_path / 'kit' / 'data').mkdir(parents=True)
  with pytest.raises(ValueError, match='has no data/meta.mat'):
    imagenet.open_splits(str(downloads), str(tmp_path / 'kit'))
