r"""Writes the photographs that docs/own_images.md trains on: 2,000 small crops.

  python docs/own_images_data.py --out=photos
  python docs/own_images_data.py --kind=letters --out=letters

Photographs: six that come with scikit-learn and scikit-image, one class each.
Every crop is a random square of 64 to 112 pixels, resized to 64x64. A block at
the top left of each photograph, 40 % of its width and half of its height, is
held out: crops in valid/ lie inside this block, and no crop in train/ touches
it. So no pixel is in both splits.

Letters: A to J in the fonts of the DejaVu family, 32x32, each drawn with a
random size, position, rotation, color and background. The fonts in valid/ are
not in train/. On Debian and Ubuntu, the package fonts-dejavu holds them.
"""

from collections.abc import Iterator
import colorsys
import pathlib
import sys

from absl import flags
import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont
import tqdm

from rq_jax.cli import command

# Crops of all photographs together, and the share of them that is held out.
_CROPS, _HELD_OUT = 2000, 5
_SIDES, _SIZE = (64, 112), 64
_BLOCK = (0.5, 0.4)  # Height and width of the block that is held out.
_PHOTOGRAPHS = {
    'cat': 'skimage/chelsea.png',
    'china': 'sklearn/china.jpg',
    'coffee': 'skimage/coffee.png',
    'flower': 'sklearn/flower.jpg',
    'rocket': 'skimage/rocket.jpg',
    'stars': 'skimage/hubble_deep_field.jpg',
}
_LETTERS, _LETTER_SIZE = 'ABCDEFGHIJ', 32
_PER_LETTER = {'train': 160, 'valid': 40}
_HELD_OUT_FONTS = ('DejaVuSerif-Italic.ttf', 'DejaVuSansMono-Bold.ttf')


def photographs() -> Iterator[tuple[str, str, Image.Image]]:
  """All crops: split, class and image."""
  rng = np.random.default_rng(0)
  for i, (name, file) in enumerate(_PHOTOGRAPHS.items()):
    count = _CROPS // len(_PHOTOGRAPHS) + (i < _CROPS % len(_PHOTOGRAPHS))
    photograph = np.asarray(_open(file))
    held_out = count // _HELD_OUT
    for split, n in {'train': count - held_out, 'valid': held_out}.items():
      for _ in range(n):
        yield split, name, _crop(photograph, rng, inside=split == 'valid')


def letters(folder: str) -> Iterator[tuple[str, str, Image.Image]]:
  """All letters: split, class and image."""
  fonts = sorted(pathlib.Path(folder).glob('DejaVuS*.ttf'))
  if not fonts:
    raise ValueError(
        f'--fonts={folder} has no DejaVu fonts. Install the package'
        ' fonts-dejavu, or change --fonts.'
    )
  rng = np.random.default_rng(0)
  for split, count in _PER_LETTER.items():
    held_out = split == 'valid'
    chosen = [f for f in fonts if (f.name in _HELD_OUT_FONTS) == held_out]
    for letter in _LETTERS:
      for i in range(count):
        yield split, letter, _draw(letter, chosen[i % len(chosen)], rng)


def _open(file: str) -> Image.Image:
  package, name = file.split('/')
  if package == 'sklearn':
    from sklearn import datasets

    return Image.fromarray(datasets.load_sample_image(name))
  import skimage

  folder = pathlib.Path(skimage.__file__).parent / 'data'
  return Image.open(folder / name, formats=('JPEG', 'PNG')).convert('RGB')


def _crop(
    photograph: np.ndarray, rng: np.random.Generator, *, inside: bool
) -> Image.Image:
  """A random square of a photograph, inside or outside the held-out block."""
  height, width = photograph.shape[:2]
  bottom, right = int(height * _BLOCK[0]), int(width * _BLOCK[1])
  while True:
    side = int(rng.integers(_SIDES[0], _SIDES[1] + 1))
    area = (bottom, right) if inside else (height, width)
    top, left = (int(rng.integers(length - side + 1)) for length in area)
    if inside or top >= bottom or left >= right:
      break
  square = Image.fromarray(photograph[top : top + side, left : left + side])
  return square.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)


def _draw(
    letter: str, font: pathlib.Path, rng: np.random.Generator
) -> Image.Image:
  """Draws a light letter on a dark background, four times as large at first."""
  side = 4 * _LETTER_SIZE
  colors = [
      tuple(
          round(255 * c)
          for c in colorsys.hsv_to_rgb(
              rng.random(), rng.uniform(0.2, 0.8), rng.uniform(*value)
          )
      )
      for value in ((0.1, 0.3), (0.8, 1.0))
  ]
  image = Image.new('RGB', (side, side), colors[0])
  center = tuple(side / 2 + rng.uniform(-0.08, 0.08, 2) * side)
  ImageDraw.Draw(image).text(
      center,
      letter,
      fill=colors[1],
      font=ImageFont.truetype(str(font), int(side * rng.uniform(0.6, 0.85))),
      anchor='mm',
  )
  image = image.rotate(
      rng.uniform(-12, 12), Image.Resampling.BICUBIC, fillcolor=colors[0]
  )
  return image.resize((_LETTER_SIZE,) * 2, Image.Resampling.LANCZOS)


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  flags.DEFINE_enum(
      'kind', 'photographs', ['photographs', 'letters'], 'What to write.',
      flag_values=values,
  )  # fmt: skip
  command.define_path('out', 'photos', 'Folder for the images.', values)
  command.define_path(
      'fonts',
      '/usr/share/fonts/truetype/dejavu',
      'Folder of the DejaVu fonts, for --kind=letters.',
      values,
  )
  return values


def _write(values: flags.FlagValues) -> None:
  made = (
      photographs() if values.kind == 'photographs' else letters(values.fonts)
  )
  counts: dict[pathlib.Path, int] = {}
  for split, name, image in tqdm.tqdm(made, unit='image'):
    folder = pathlib.Path(values.out) / split / name
    folder.mkdir(parents=True, exist_ok=True)
    counts[folder] = counts.get(folder, -1) + 1
    image.save(folder / f'{counts[folder]:04d}.png')
  print(f'Wrote {sum(counts.values()) + len(counts)} images to {values.out}.')


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _write))
