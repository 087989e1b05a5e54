"""Image files are read whatever they look like, and nothing else is opened."""

import io
import os
import socket
import struct
import subprocess
import sys
import zlib

import numpy as np
from PIL import Image
from PIL import ImageFile
import pytest
from sklearn import datasets

from rq_jax import config_fields
from rq_jax import files
from rq_jax.data import image_files
from rq_jax.data import sources

SIZE = (90, 60)


@pytest.fixture(scope='module')
def photo():
  """A real photograph, reduced to 90x60 pixels."""
  return Image.fromarray(datasets.load_sample_images().images[0]).resize(SIZE)


def encoded(picture, kind, **options):
  """A picture as the contents of a file."""
  buffer = io.BytesIO()
  picture.save(buffer, kind, **options)
  return buffer.getvalue()


def read(folder, name, content):
  """Reads a file as training would: the only one in its folder."""
  (folder / name).write_bytes(content)
  return sources.ImageFolder(folder)[0]['image']


def refused(path, **options):
  """Why a file is not read; the message names it, and no object."""
  with pytest.raises(ValueError) as error:
    image_files.read(path, **options)
  message = str(error.value)
  assert message.startswith(f'{path} ')
  assert '0x' not in message and '_io.' not in message
  return message


def png_header(width, height):
  """A PNG file that promises so many grey pixels and holds none."""
  fields = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  parts = [b'\x89PNG\r\n\x1a\n']
  for name, data in ((b'IHDR', fields), (b'IDAT', zlib.compress(b''))):
    crc = struct.pack('>I', zlib.crc32(name + data))
    parts.append(struct.pack('>I', len(data)) + name + data + crc)
  return b''.join(parts)


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
  with pytest.raises(ValueError, match=r'a\.jpg is no JPEG, PNG or WebP file'):
    read(images, 'a.jpg', eps)
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
  picture = Image.new('LAB', SIZE) if mode == 'LAB' else photo.convert(mode)
  (tmp_path / name).write_bytes(encoded(picture, kind))
  assert 'no JPEG, PNG or WebP' in refused(tmp_path / name)


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
  assert 'no JPEG, PNG or WebP' in refused(tmp_path / 'x.jpg')


@pytest.mark.parametrize(
    ('kind', 'percent'),
    [
        *(('JPEG', p) for p in (1, 5, 25, 50, 75, 90, 99)),
        *(('PNG', p) for p in (1, 10, 50, 90)),
        *(('WEBP', p) for p in (1, 25, 50, 99)),
    ],
)
def test_a_file_that_was_cut_is_refused(tmp_path, photo, kind, percent):
  content = encoded(photo, kind)
  file = tmp_path / 'cut.jpg'
  file.write_bytes(content[: len(content) * percent // 100])
  message = refused(file)
  assert 'cannot be read as an image' in message or 'damaged' in message


def test_a_png_file_with_a_changed_byte_is_refused(tmp_path, photo):
  content = encoded(photo, 'PNG')
  for place in (29, len(content) // 2):  # In the CRC of the header; in pixels.
    changed = bytearray(content)
    changed[place] ^= 1
    (tmp_path / 'x.png').write_bytes(changed)
    refused(tmp_path / 'x.png')


def special(kind, path, photo):
  """Makes something that is no regular file."""
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
  assert f'not a regular file, but {kind}. ' in refused(tmp_path / 'x.jpg')


def test_a_file_that_becomes_a_fifo_before_it_is_opened_is_refused(
    tmp_path, photo, monkeypatch
):
  photo.save(tmp_path / 'a.png')
  os.mkfifo(tmp_path / 'x.png')
  before = os.stat(tmp_path / 'a.png')
  with monkeypatch.context() as patch:
    patch.setattr(image_files.os, 'stat', lambda _: before)
    with pytest.raises(ValueError, match='not a regular file, but a FIFO'):
      image_files.read(tmp_path / 'x.png')


def test_links_lead_to_regular_files_or_are_named(tmp_path, photo):
  photo.save(tmp_path / 'a.png')
  link = tmp_path / 'x.png'
  link.symlink_to('a.png')
  np.testing.assert_array_equal(image_files.read(link), np.asarray(photo))
  link.unlink()
  link.symlink_to('none.png')
  assert 'is a link to a file that is missing' in refused(link)
  link.unlink()
  link.symlink_to('x.png')
  assert 'Too many levels of symbolic links' in refused(link)
  link.unlink()
  assert 'x.png is missing' in refused(link)


@pytest.mark.skipif(os.geteuid() == 0, reason='Root may read everything.')
def test_a_file_that_may_not_be_read_is_named(tmp_path, photo):
  photo.save(tmp_path / 'x.png')
  (tmp_path / 'x.png').chmod(0)
  assert 'Permission denied' in refused(tmp_path / 'x.png')


def test_as_many_pixels_as_allowed_are_read_and_no_more(
    tmp_path, photo, monkeypatch
):
  file = tmp_path / 'x.png'
  photo.save(file)
  image = image_files.read(file, max_pixels=90 * 60)
  np.testing.assert_array_equal(image, np.asarray(photo))
  source = sources.ImageFolder(tmp_path, max_pixels=90 * 60 - 1)

  def fail(*_):
    raise AssertionError('Pixels were decoded.')

  monkeypatch.setattr(ImageFile.ImageFile, 'load', fail)
  with pytest.raises(ValueError) as error:
    source[0]
  assert str(error.value) == (
      f'{file} has 90 x 60 pixels by its header, and'
      ' --config.data.max_pixels=5399 are read at most. Reduce or remove the'
      ' image, or raise --config.data.max_pixels, up to 178956970.'
  )


# Reading installs this filter itself; pytest replaces the filters.
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
  file.write_bytes(png_header(side, side))
  assert f'bomb.png has {size} pixels by its header' in refused(file)


def test_a_limit_above_that_of_pillows_warning_is_kept_without_one(tmp_path):
  (tmp_path / 'x.png').write_bytes(png_header(10_000, 10_000))
  run = subprocess.run(
      [
          sys.executable,
          '-c',
          'import sys; from rq_jax.data import image_files;'
          f'image_files.read({str(tmp_path / "x.png")!r},'
          ' max_pixels=100_000_000)',
      ],
      capture_output=True,
      text=True,
  )
  assert 'DecompressionBomb' not in run.stderr
  # There are no pixels to read, which only shows in reading them.
  assert 'cannot be read as an image' in run.stderr.splitlines()[-1]


def test_the_highest_limit_is_that_of_pillow():
  assert config_fields.PILLOW_MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


def test_warnings_that_are_errors_are_reworded_too(tmp_path, monkeypatch):
  (tmp_path / 'x.png').write_bytes(png_header(10, 10))
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 99)  # A warning.
  assert 'x.png has 100 pixels by its header' in refused(
      tmp_path / 'x.png', max_pixels=70
  )


def test_every_color_mode_becomes_rgb(tmp_path, photo):
  rgba = photo.copy()
  rgba.putalpha(128)
  grey = photo.convert('L')
  palette = photo.quantize(256)
  palette.info['transparency'] = bytes(range(256))
  pictures = {
      'rgba.png': (rgba, photo),
      'grey.png': (grey, grey.convert('RGB')),
      'alpha.png': (grey.convert('LA'), grey.convert('RGB')),
      'bits.png': (photo.convert('1'), photo.convert('1').convert('RGB')),
      'colors.png': (photo.quantize(256), photo.quantize(256).convert('RGB')),
      'palette.png': (palette, palette.convert('RGBA').convert('RGB')),
      'cmyk.jpg': (photo.convert('CMYK'), photo),
      'grey.jpg': (grey, grey.convert('RGB')),
  }
  for name, (picture, expected) in pictures.items():
    picture.save(tmp_path / name, quality=100)
    image = image_files.read(tmp_path / name)
    assert (image.dtype, image.shape) == (np.uint8, (60, 90, 3))
    tolerance = 3 if name.endswith('.jpg') else 0
    error = np.abs(image.astype(int) - np.asarray(expected, int))
    assert error.mean() <= tolerance, name


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
  grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
  Image.fromarray(grey).save(tmp_path / 'grey.png')
  image = image_files.read(tmp_path / 'grey.png')
  np.testing.assert_array_equal(image[..., 1], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize(
    ('name', 'kind', 'options'),
    [
        ('a.jpg', 'JPEG', {}),
        ('a.jpeg', 'JPEG', dict(progressive=True)),
        ('a.PNG', 'JPEG', {}),
        ('a.jpg', 'PNG', {}),
        ('a.webp', 'WEBP', {}),
        ('a.WEBP', 'WEBP', dict(lossless=True)),
    ],
)
def test_pixels_are_those_that_pillow_decodes(
    tmp_path, photo, name, kind, options
):
  content = encoded(photo, kind, **options)
  expected = np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))
  np.testing.assert_array_equal(read(tmp_path, name, content), expected)
  more = content + b'trailing bytes'
  np.testing.assert_array_equal(read(tmp_path, name, more), expected)


def test_a_png_file_without_its_last_chunk_has_all_pixels(tmp_path, photo):
  content = encoded(photo, 'PNG')[:-12]
  np.testing.assert_array_equal(
      read(tmp_path, 'x.png', content), np.asarray(photo)
  )


@pytest.mark.parametrize('kind', ['PNG', 'WEBP'])
def test_the_first_frame_of_an_animation_is_read(tmp_path, photo, kind):
  frames = [Image.new('RGB', SIZE, c) for c in ('black', 'white')]
  content = encoded(
      photo, kind, save_all=True, append_images=frames, lossless=True
  )
  np.testing.assert_array_equal(
      read(tmp_path, 'x.png', content), np.asarray(photo)
  )


@pytest.mark.parametrize(
    'size', [(1, 1), (1, 300), (300, 1), (1, 30_000), (30_000, 2)], ids=str
)
def test_images_of_any_shape_are_read(tmp_path, photo, size):
  picture = photo.resize(size)
  np.testing.assert_array_equal(
      read(tmp_path, 'x.png', encoded(picture, 'PNG')), np.asarray(picture)
  )


@pytest.mark.parametrize(
    'name',
    [b'a b.png', b'a\nb.png', '\N{CAT}.png'.encode(), b'"\'.png', b'\xff.png'],
)
def test_files_of_any_name_are_read_and_named(tmp_path, photo, name):
  file = os.path.join(os.fsencode(tmp_path), name)
  with open(file, 'wb') as stream:
    photo.save(stream, 'PNG')
  source = sources.ImageFolder(tmp_path)
  np.testing.assert_array_equal(source[0]['image'], np.asarray(photo))
  with open(file, 'wb'):
    pass
  refused(os.fsdecode(file))


def test_remote_files_are_read_and_refused_alike(tmp_path, photo, monkeypatch):
  monkeypatch.setattr(files, 'is_local', lambda _: False)
  image = read(tmp_path, 'x.png', encoded(photo, 'PNG'))
  np.testing.assert_array_equal(image, np.asarray(photo))
  (tmp_path / 'x.png').write_bytes(encoded(photo, 'BMP'))
  assert 'no JPEG, PNG or WebP' in refused(tmp_path / 'x.png')
