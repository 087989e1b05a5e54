"""Image files are read, whatever their colours, sizes and names are."""

import io
import os

import numpy as np
from PIL import Image
import pytest

from rq_jax import files
from rq_jax.data import image_files
from rq_jax.data.sources import image_folder
from tests.data import pictures


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
    image = image_files.Reader().read(tmp_path / name)
    assert (image.dtype, image.shape) == (np.uint8, (60, 90, 3))
    assert image_files.Reader().size(tmp_path / name) == (60, 90)
    tolerance = 3 if name.endswith('.jpg') else 0
    error = np.abs(image.astype(int) - np.asarray(expected, int))
    assert error.mean() <= tolerance, name


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
  grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
  Image.fromarray(grey).save(tmp_path / 'grey.png')
  image = image_files.Reader().read(tmp_path / 'grey.png')
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
  content = pictures.encoded(photo, kind, **options)
  expected = np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))
  np.testing.assert_array_equal(
      pictures.read(tmp_path, name, content), expected
  )
  more = content + b'trailing bytes'
  np.testing.assert_array_equal(pictures.read(tmp_path, name, more), expected)


# The last chunk has 12 bytes; before it are a checksum, and one of the pixels.
@pytest.mark.parametrize('missing', [1, 12, 16, 20])
def test_a_png_file_without_its_end_has_all_pixels(tmp_path, photo, missing):
  content = pictures.encoded(photo, 'PNG')[:-missing]
  np.testing.assert_array_equal(
      pictures.read(tmp_path, 'x.png', content), np.asarray(photo)
  )


def test_a_png_file_cut_at_99_percent_may_have_all_pixels(tmp_path, photo):
  picture = photo.resize((24, 18))
  content = pictures.encoded(picture, 'PNG')
  assert len(content) > 1000
  np.testing.assert_array_equal(
      pictures.read(tmp_path, 'x.png', content[: len(content) * 99 // 100]),
      np.asarray(picture),
  )


@pytest.mark.parametrize('missing', [1, 2])
@pytest.mark.parametrize(
    'options',
    [{}, dict(quality=95, subsampling=0), dict(restart_marker_rows=1)],
    ids=str,
)
def test_a_jpeg_file_without_its_end_has_all_pixels(
    tmp_path, photo, missing, options
):
  for picture in (photo, photo.convert('L'), photo.convert('CMYK')):
    content = pictures.encoded(picture, 'JPEG', **options)
    np.testing.assert_array_equal(
        pictures.read(tmp_path, 'x.jpg', content[:-missing]),
        np.asarray(Image.open(io.BytesIO(content)).convert('RGB')),
    )


def test_the_first_picture_of_a_camera_with_several_is_read(tmp_path, photo):
  white = Image.new('RGB', pictures.SIZE, 'white')
  content = pictures.encoded(photo, 'MPO', save_all=True, append_images=[white])
  np.testing.assert_array_equal(
      pictures.read(tmp_path, 'x.jpg', content),
      np.asarray(Image.open(io.BytesIO(pictures.encoded(photo, 'JPEG')))),
  )


@pytest.mark.parametrize('kind', ['PNG', 'WEBP'])
def test_the_first_frame_of_an_animation_is_read(tmp_path, photo, kind):
  frames = [Image.new('RGB', pictures.SIZE, c) for c in ('black', 'white')]
  content = pictures.encoded(
      photo, kind, save_all=True, append_images=frames, lossless=True
  )
  np.testing.assert_array_equal(
      pictures.read(tmp_path, 'x.png', content), np.asarray(photo)
  )


@pytest.mark.parametrize(
    'size', [(1, 1), (1, 300), (300, 1), (1, 30_000), (30_000, 2)], ids=str
)
def test_images_of_any_shape_are_read(tmp_path, photo, size):
  picture = photo.resize(size)
  np.testing.assert_array_equal(
      pictures.read(tmp_path, 'x.png', pictures.encoded(picture, 'PNG')),
      np.asarray(picture),
  )


@pytest.mark.parametrize(
    ('name', 'shown'),
    [
        (b'a b.png', 'a b.png'),
        (b'a\nb.png', r'a\nb.png'),
        ('\N{CAT}\xe9.png'.encode(), '\N{CAT}\xe9.png'),
        (b'"\'\\.png', '"\'\\.png'),
        (b'\xff\xfe.png', r'\xff\xfe.png'),
        (b'\x1b[31m.png', r'\x1b[31m.png'),
    ],
)
def test_files_of_any_name_are_read_and_named(tmp_path, photo, name, shown):
  file = os.path.join(os.fsencode(tmp_path), name)
  with open(file, 'wb') as stream:
    photo.save(stream, 'PNG')
  source = image_folder.ImageFolder(tmp_path)
  np.testing.assert_array_equal(source[0]['image'], np.asarray(photo))
  with open(file, 'wb'):
    pass
  message = pictures.refused(os.fsdecode(file))
  assert message.startswith(f'{tmp_path}/{shown} is not a JPEG, PNG or WebP')


def test_remote_files_are_read_and_refused_alike(tmp_path, photo, monkeypatch):
  monkeypatch.setattr(files, 'is_local', lambda _: False)
  image = pictures.read(tmp_path, 'x.png', pictures.encoded(photo, 'PNG'))
  np.testing.assert_array_equal(image, np.asarray(photo))
  (tmp_path / 'x.png').write_bytes(pictures.encoded(photo, 'BMP'))
  assert 'not a JPEG, PNG or WebP' in pictures.refused(tmp_path / 'x.png')


def test_the_size_of_an_image_is_read_from_its_header(tmp_path):
  content = pictures.png_header(7, 5)  # It has no pixels to decode.
  (tmp_path / 'x.png').write_bytes(content)
  reader = image_files.Reader(rotate=True, max_pixels=35)
  assert reader.size(tmp_path / 'x.png') == (5, 7)
  with pytest.raises(image_files.BrokenImageError, match='x has 9 x 4 pixels'):
    reader.size_of(pictures.png_header(9, 4), 'x')
  with pytest.raises(image_files.BrokenImageError, match='x is not a JPEG'):
    reader.size_of(b'text', 'x')
