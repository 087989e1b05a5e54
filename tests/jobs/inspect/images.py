"""A folder of images with known copies, broken files and odd files."""

import numpy as np
from PIL import Image

from rq_jax.config import sections


def rotation():
  """EXIF data that asks viewers to turn an image by 90 degrees."""
  exif = Image.Exif()
  exif[0x0112] = 6
  return exif


def noise(seed, height=40, width=48):
  """A picture whose thumbnail has contrast: blocks of random colours."""
  blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
  size = (width, height)
  return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def write(folder):
  """Two classes: six and five training images, two and one held-out."""
  for name in ('train/cat', 'train/dog', 'test/cat', 'test/dog'):
    (folder / name).mkdir(parents=True)
  cat, dog = folder / 'train' / 'cat', folder / 'train' / 'dog'
  for i in range(4):
    noise(i).save(cat / f'{i}.png')
    noise(10 + i, 100, 120).save(dog / f'{i}.png')
  noise(4).convert('L').save(cat / 'grey.png')
  with_alpha = noise(5).convert('RGBA')
  with_alpha.putalpha(128)
  with_alpha.save(cat / 'transparent.png')
  noise(6, 30, 90).save(dog / 'rotated.jpg', exif=rotation())
  (cat / 'empty.jpg').write_bytes(b'')
  noise(0).save(dog / 'copy of cat 0.png')
  noise(1).save(folder / 'test' / 'cat' / 'leaked.png')
  noise(2).save(folder / 'test' / 'cat' / 'again.jpg', quality=80)
  noise(20, 300, 300).save(folder / 'test' / 'dog' / '0.png')
  return folder


def data(folder):
  """The section `data` of an experiment on a folder."""
  return sections.Data(source='image_folder', path=str(folder))
