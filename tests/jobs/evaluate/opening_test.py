"""Images in every form: the same pixels in the same order, or one sentence."""

import io
import json
import tarfile

import numpy as np
from PIL import Image
import pytest

from rq_jax.data import transforms
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import opening
from tests.jobs import generators
from tests.jobs.evaluate import fakes

COUNT = 7
IMAGES = fakes.images(COUNT)


def png(pixels):
  stream = io.BytesIO()
  Image.fromarray(pixels).save(stream, 'PNG')
  return stream.getvalue()


def write_folder(folder):
  folder.mkdir()
  for i, pixels in enumerate(IMAGES):
    (folder / f'{i:03d}.png').write_bytes(png(pixels))
  return folder


def write_sampled(folder):
  """As `sample --format=png` writes, with its grid and labels."""
  write_folder(folder)
  (folder / 'grid.png').write_bytes(png(fakes.images(1, size=64)[0]))
  (folder / 'job.json').write_text('{}')
  (folder / 'labels.json').write_text(json.dumps([1, 0, 2] + [0] * 4))
  return folder


def write_shards(folder):
  folder.mkdir()
  (folder / 'grid.png').write_bytes(png(IMAGES[0]))
  (folder / 'job.json').write_text('{}')
  np.savez(folder / 'shard-00000-of-00002.npz', IMAGES[:4])
  np.savez(folder / 'shard-00001-of-00002.npz', IMAGES[4:])
  return folder


def write_tar(path):
  path = path.with_suffix('.tar')
  with tarfile.open(path, 'w') as tar:
    for i, pixels in enumerate(IMAGES):
      info, content = tarfile.TarInfo(f'{i}.png'), png(pixels)
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))
      text = tarfile.TarInfo(f'{i}.txt')
      tar.addfile(text, io.BytesIO(b''))
  return path


def write_npz(path, *, compressed=False):
  path = path.with_suffix('.npz')
  (np.savez_compressed if compressed else np.savez)(path, IMAGES, np.arange(7))
  return path


FORMS = {
    'folder': write_folder,
    'sampled': write_sampled,
    'shards': write_shards,
    'tar': write_tar,
    'npz': write_npz,
    'compressed': lambda path: write_npz(path, compressed=True),
}


def read(images, chunk_size=3, numbers=None):
  parts = image_sets.chunks(images, chunk_size)
  chosen = parts if numbers is None else [parts[n] for n in numbers]
  return list(images.read(iter(chosen)))


@pytest.mark.parametrize('form', FORMS)
def test_every_form_gives_the_same_images(form, tmp_path):
  path = FORMS[form](tmp_path / 'images')
  opened = opening.open_images(str(path), flag='--samples')
  assert len(opened) == COUNT
  np.testing.assert_array_equal(np.concatenate(read(opened)), IMAGES)
  # Some chunks only, and backwards, as other processes and the page do.
  chosen = read(opened, numbers=[2, 0])
  np.testing.assert_array_equal(chosen[0], IMAGES[6:])
  np.testing.assert_array_equal(chosen[1], IMAGES[:3])


def test_labels_come_from_files_and_folders(tmp_path):
  opened = opening.open_images(
      str(write_npz(tmp_path / 'images')), flag='--samples'
  )
  np.testing.assert_array_equal(opened.labels, np.arange(7))
  opened = opening.open_images(
      str(write_sampled(tmp_path / 'sampled')), flag='--samples'
  )
  np.testing.assert_array_equal(opened.labels, [1, 0, 2, 0, 0, 0, 0])
  for i, pixels in enumerate(IMAGES):
    folder = tmp_path / 'classes' / ['cat', 'dog'][i % 2]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{i}.png').write_bytes(png(pixels))
  opened = opening.open_images(str(tmp_path / 'classes'), flag='--samples')
  assert (opened.class_names, opened.num_classes) == (['cat', 'dog'], 2)
  np.testing.assert_array_equal(opened.labels, [0, 0, 0, 0, 1, 1, 1])


def test_a_split_of_a_dataset_is_cropped_as_in_training(tmp_path):
  for split in ('train', 'val'):
    (tmp_path / split).mkdir()
    for i in range(3):
      pixels = np.full((20 + i, 30, 3), 40 * i + (split == 'val'), np.uint8)
      (tmp_path / split / f'{i}.png').write_bytes(png(pixels))
  opened = opening.open_images(
      f'{tmp_path}:test', flag='--samples', image_size=16
  )
  found = np.concatenate(read(opened))
  assert found.shape == (3, 16, 16, 3)
  np.testing.assert_array_equal(found[:, 0, 0, 0], [1, 41, 81])
  with pytest.raises(ValueError, match='dataset with splits.*:test'):
    opening.open_images(str(tmp_path), flag='--samples')
  other = opening.open_images(f'{tmp_path}:test', flag='--samples')
  for check in (lambda: read(other), other.check_sizes):
    with pytest.raises(ValueError, match='different sizes.*Set --image_size'):
      check()


def test_the_center_has_the_pixels_that_models_see():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (23, 37, 3), np.uint8)
  seen = transforms.evaluate(image, image_size=16)
  center = transforms.center(image, image_size=16)
  np.testing.assert_array_equal(np.round((seen + 1) * 127.5), center)


def test_picked_images_are_those_that_were_asked_for(tmp_path):
  opened = opening.open_images(
      str(write_npz(tmp_path / 'images')), flag='--samples'
  )
  found = image_sets.pick(opened, [6, 0, 5, 0], chunk_size=2)
  np.testing.assert_array_equal(found, IMAGES[[6, 0, 5, 0]])


def test_what_sample_writes_can_be_judged(tmp_path):
  generators.run_labels(tmp_path / 'png')
  generators.run_labels(tmp_path / 'npz', format='npz')
  png_images, npz_images = (
      opening.open_images(str(tmp_path / name), flag='--samples')
      for name in ('png', 'npz')
  )
  np.testing.assert_array_equal(
      np.concatenate(read(png_images)), np.concatenate(read(npz_images))
  )
  np.testing.assert_array_equal(png_images.labels, npz_images.labels)


def write(path, content):
  path.write_bytes(content)
  return path


def cut(path):
  whole = write_npz(path.with_name('whole'))
  return write(path.with_suffix('.npz'), whole.read_bytes()[:500])


def flipped(path):
  """Changes a byte of the pixels."""
  content = bytearray(write_npz(path).read_bytes())
  content[1000] ^= 1
  return write(path.with_suffix('.npz'), bytes(content))


def objects(path):
  np.savez(path, np.array([{}], object))
  return path.with_suffix('.npz')


def unfinished(path):
  write_shards(path)
  (path / 'grid.png').unlink()
  return path


def named(name, **arrays):
  def make(path):
    np.savez(path.with_name(name), **arrays)
    return path.with_name(name)

  return make


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda path: path, 'there is no such file'),
        (lambda path: path.with_name(f'{path.name}:test'), 'is not a folder'),
        (lambda path: write(path.with_suffix('.txt'), b'x'), 'none of the'),
        (lambda path: write(path.with_suffix('.npz'), b'x'), 'cannot be read'),
        (lambda path: write(path.with_suffix('.tar'), b'x'), 'cut off'),
        (cut, 'cannot be read'),
        (flipped, 'cannot be read'),
        (objects, 'only numbers and texts'),
        (unfinished, 'unfinished.*Run the command'),
        (named('a.npz', mu=np.zeros(3)), 'no array arr_0.*mu'),
        (named('b.npz', arr_0=IMAGES / 255), 'must be uint8'),
        (named('c.npz', arr_0=IMAGES[:0]), 'at least one image'),
    ],
)
def test_odd_files_are_refused_in_a_sentence(make, words, tmp_path):
  path = make(tmp_path / 'images')
  with pytest.raises(ValueError, match=words) as error:
    read(opening.open_images(str(path), flag='--samples'))
  assert str(tmp_path) in str(error.value)


def test_an_empty_folder_is_refused(tmp_path):
  with pytest.raises(ValueError, match='contains no images'):
    opening.open_images(str(tmp_path), flag='--samples')


def test_a_broken_image_is_named(tmp_path):
  folder = write_folder(tmp_path / 'images')
  (folder / '004.png').write_bytes(b'no image')
  opened = opening.open_images(str(folder), flag='--samples')
  with pytest.raises(ValueError, match='004.png is not a JPEG, PNG or WebP'):
    read(opened)


def test_the_last_image_of_a_damaged_file_is_refused(tmp_path):
  path = tmp_path / 'a.npz'
  pixels = fakes.images(3, size=256)  # More than is read ahead.
  np.savez(path, pixels)
  stored = path.read_bytes()
  last = stored.index(pixels.tobytes()) + pixels.nbytes - 1
  changed = bytes([stored[last] ^ 1])
  path.write_bytes(stored[:last] + changed + stored[last + 1 :])
  images = opening.open_images(str(path), flag='--samples')
  with pytest.raises(ValueError, match='Bad CRC-32'):
    list(images.read([range(0, 3)]))


def test_labels_are_those_of_all_files_or_none(tmp_path):
  fakes.write(tmp_path / 'a.npz', 3, labels=np.arange(3))
  fakes.write(tmp_path / 'b.npz', 3)
  assert opening.open_images(str(tmp_path), flag='--samples').labels is None
