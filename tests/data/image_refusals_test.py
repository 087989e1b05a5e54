"""Files that are not images of a supported format are refused by name."""

import os
import socket
import subprocess
import sys

import numpy as np
from PIL import Image
from PIL import ImageFile
import pytest

from rq_jax.config import sections
from rq_jax.data import image_files
from rq_jax.data.sources import image_folder
from tests.data import pictures


def test_postscript_with_the_name_of_an_image_starts_no_program(
    tmp_path, monkeypatch
):
  started = tmp_path / 'started'
  fake = tmp_path / 'bin' / 'gs'
  fake.parent.mkdir()
  fake.write_text(f'#!/bin/sh\ntouch {started}\n')
  fake.chmod(0o755)
  monkeypatch.setenv('PATH', str(fake.parent), prepend=os.pathsep)
  images = tmp_path / 'images'
  images.mkdir()
  eps = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n'
  with pytest.raises(ValueError, match=r'a\.jpg is not a JPEG, PNG or WebP fi'):
    pictures.read(images, 'a.jpg', eps)
  assert not started.exists()


@pytest.mark.parametrize('name', ['x.jpg', 'x.png', 'x.webp'])
@pytest.mark.parametrize(
    ('mode', 'kind'),
    [
        ('F', 'TIFF'),
        ('LAB', 'TIFF'),
        ('RGB', 'TIFF'),
        ('RGB', 'BMP'),
        ('L', 'GIF'),
        ('RGB', 'PDF'),
        ('RGB', 'EPS'),
        ('RGB', 'PPM'),
    ],
)
def test_other_formats_with_the_name_of_an_image_are_refused(
    tmp_path, photo, name, mode, kind
):
  picture = (
      Image.new('LAB', pictures.SIZE) if mode == 'LAB' else photo.convert(mode)
  )
  (tmp_path / name).write_bytes(pictures.encoded(picture, kind))
  assert 'not a JPEG, PNG or WebP' in pictures.refused(tmp_path / name)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'a text',
        b'<!DOCTYPE html><html>404</html>',
        bytes(5000),
        np.random.default_rng(0).bytes(5000),
        b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n',
    ],
    ids=['empty', 'text', 'HTML', 'zeros', 'noise', 'git-lfs'],
)
def test_files_that_hold_no_picture_are_refused(tmp_path, content):
  (tmp_path / 'x.jpg').write_bytes(content)
  assert 'not a JPEG, PNG or WebP' in pictures.refused(tmp_path / 'x.jpg')


@pytest.mark.parametrize(
    ('kind', 'percent'),
    [
        *(('JPEG', p) for p in (1, 5, 25, 50, 75, 90, 99)),
        *(('PNG', p) for p in (1, 10, 50, 90)),
        *(('WEBP', p) for p in (1, 25, 50, 99)),
    ],
)
@pytest.mark.parametrize('decoder', ['pillow', 'opencv'])
def test_a_file_that_was_cut_is_refused(
    tmp_path, photo, kind, percent, decoder
):
  content = pictures.encoded(photo, kind)
  file = tmp_path / 'cut.jpg'
  file.write_bytes(content[: len(content) * percent // 100])
  message = pictures.refused(file, decoder=decoder)
  assert 'cannot be read as an image' in message or 'damaged' in message


@pytest.mark.parametrize(
    ('options', 'missing'),
    [
        ({}, 3),
        (dict(restart_marker_rows=1), 30),
        (dict(progressive=True), 2),
    ],
    ids=str,
)
def test_a_jpeg_file_that_may_lack_pixels_is_refused(
    tmp_path, photo, options, missing
):
  """A progressive one may lack its last scans."""
  content = pictures.encoded(photo, 'JPEG', **options)
  (tmp_path / 'x.jpg').write_bytes(content[:-missing])
  assert 'image file is truncated' in pictures.refused(tmp_path / 'x.jpg')


def test_a_png_file_with_a_changed_byte_is_refused(tmp_path, photo):
  content = pictures.encoded(photo, 'PNG')
  for place in (29, len(content) // 2):  # In the CRC of the header; in pixels.
    changed = bytearray(content)
    changed[place] ^= 1
    (tmp_path / 'x.png').write_bytes(changed)
    pictures.refused(tmp_path / 'x.png')


def special(kind, path, photo):
  """Creates something that is not a regular file."""
  if kind == 'a FIFO':
    os.mkfifo(path)
  elif kind == 'a socket':
    with socket.socket(socket.AF_UNIX) as server:
      server.bind(str(path))
  elif kind == 'a device':
    path.symlink_to('/dev/zero')
  else:
    path.mkdir()
    photo.save(path / 'a.png')


@pytest.mark.parametrize('kind', ['a FIFO', 'a socket', 'a device', 'a folder'])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path, photo, kind, monkeypatch
):
  monkeypatch.chdir(tmp_path)  # The names of sockets must be short.
  special(kind, tmp_path / 'x.jpg', photo)
  assert f'not a regular file, but {kind}. ' in pictures.refused(
      tmp_path / 'x.jpg'
  )


def test_a_file_that_becomes_a_fifo_before_it_is_opened_is_refused(
    tmp_path, photo, monkeypatch
):
  photo.save(tmp_path / 'a.png')
  os.mkfifo(tmp_path / 'x.png')
  before = os.stat(tmp_path / 'a.png')
  with monkeypatch.context() as patch:
    patch.setattr(image_files.os, 'stat', lambda _: before)
    with pytest.raises(ValueError, match='not a regular file, but a FIFO'):
      image_files.Reader().read(tmp_path / 'x.png')


def test_links_lead_to_regular_files_or_are_named(tmp_path, photo):
  photo.save(tmp_path / 'a.png')
  link = tmp_path / 'x.png'
  link.symlink_to('a.png')
  image = image_files.Reader().read(link)
  np.testing.assert_array_equal(image, np.asarray(photo))
  link.unlink()
  link.symlink_to('none.png')
  assert 'is a link to a file that is missing' in pictures.refused(link)
  link.unlink()
  link.symlink_to('x.png')
  assert 'Too many levels of symbolic links' in pictures.refused(link)
  link.unlink()
  assert 'x.png is missing' in pictures.refused(link)


@pytest.mark.skipif(os.geteuid() == 0, reason='Root may read everything.')
def test_a_file_that_may_not_be_read_is_named(tmp_path, photo):
  photo.save(tmp_path / 'x.png')
  (tmp_path / 'x.png').chmod(0)
  assert 'Permission denied' in pictures.refused(tmp_path / 'x.png')


def test_as_many_pixels_as_allowed_are_read_and_no_more(
    tmp_path, photo, monkeypatch
):
  file = tmp_path / 'x.png'
  photo.save(file)
  image = image_files.Reader(max_pixels=90 * 60).read(file)
  np.testing.assert_array_equal(image, np.asarray(photo))
  reader = image_files.Reader(max_pixels=90 * 60 - 1)
  source = image_folder.ImageFolder(tmp_path, reader=reader)

  def fail(*_):
    raise AssertionError('Pixels were decoded.')

  monkeypatch.setattr(ImageFile.ImageFile, 'load', fail)
  with pytest.raises(ValueError) as error:
    source[0]
  assert str(error.value) == (
      f'{file} has 90 x 60 pixels according to its header, which is more than'
      ' --config.data.max_pixels=5399. Shrink or remove the image, or raise'
      ' --config.data.max_pixels to at most 178956970.'
  )


# `image_files` installs this filter, too, but pytest replaces all filters.
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize(
    ('side', 'size'),
    [
        (8_945, '8945 x 8945'),
        (10_000, '10000 x 10000'),
        (12_000, '12000 x 12000'),
        (20_000, '400000000'),
        (60_000, '3600000000'),
    ],
)
def test_a_header_that_promises_too_much_is_refused(tmp_path, side, size):
  file = tmp_path / 'bomb.png'
  file.write_bytes(pictures.png_header(side, side))
  assert (
      f'bomb.png has {size} pixels according to its header'
      in pictures.refused(file)
  )


@pytest.mark.process
def test_a_limit_above_that_of_pillows_warning_is_kept_without_one(tmp_path):
  (tmp_path / 'x.png').write_bytes(pictures.png_header(10_000, 10_000))
  run = subprocess.run(
      [
          sys.executable,
          '-c',
          'import sys; from rq_jax.data import image_files;'
          'reader = image_files.Reader(max_pixels=100_000_000);'
          f'reader.read({str(tmp_path / "x.png")!r})',
      ],
      capture_output=True,
      text=True,
  )
  assert 'DecompressionBomb' not in run.stderr
  # The file has no pixels, which is noticed only when they are read.
  assert 'cannot be read as an image' in run.stderr.splitlines()[-1]


def test_the_highest_limit_is_that_of_pillow():
  assert sections.PILLOW_MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


def test_warnings_that_are_errors_are_reworded_too(tmp_path, monkeypatch):
  (tmp_path / 'x.png').write_bytes(pictures.png_header(10, 10))
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 99)  # A warning.
  assert 'x.png has 100 pixels according to its header' in pictures.refused(
      tmp_path / 'x.png', max_pixels=70
  )
