r"""Prints by how much the dialects of evaluation differ on the same images.

  python -m rq_jax convert --from=efficientnet_lite0 --dst=lite0
  python docs/dialect_figures.py --classifier=lite0
  python docs/dialect_figures.py --inception=inception

The images are the crops of docs/own_images_data.py: 1,000 as a reference, and
1,000 others, also as JPEG files and blurred. For each way to resize images, the
script prints the Frechet distances of these sets from the reference.

With --inception, the network is that of FID. With --classifier, it is
EfficientNet-Lite0, with its own scale of pixels. Both take about a quarter of
an hour on two CPU cores; with --count=100, a tenth of this time.
"""

from collections.abc import Callable, Mapping
import io
import sys

from absl import flags
import jax
import numpy as np
import own_images_data
from PIL import Image
from PIL import ImageFilter
import tqdm

from rq_jax.checkpoints import networks
from rq_jax.cli import command
from rq_jax.evaluation import dialects
from rq_jax.evaluation import extractors
from rq_jax.evaluation import frechet
from rq_jax.models import build
from rq_jax.models import efficientnet
from rq_jax.typing import Array

_QUALITY = 50
_BLUR = 1  # Standard deviation in pixels.
_BATCH = 64
_LITE0_SIZE = 224

Extract = Callable[[np.ndarray], np.ndarray]


def image_sets(count: int) -> dict[str, np.ndarray]:
  """The reference and the sets that are compared with it: uint8[N, 64, 64, 3].

  No crop is in the reference and in another set.
  """
  crops = [image for _, _, image in own_images_data.photographs()]
  order = np.random.default_rng(0).permutation(len(crops))
  if len(order) < 2 * count:
    raise ValueError(
        f'--count={count} needs {2 * count} crops, but there are {len(order)}.'
        f' Choose at most {len(order) // 2}.'
    )
  others = [crops[i] for i in order[count : 2 * count]]
  blur = ImageFilter.GaussianBlur(_BLUR)
  found = {
      'reference': [crops[i] for i in order[:count]],
      'other crops': others,
      f'as JPEG, quality {_QUALITY}': [_as_jpeg(image) for image in others],
      f'blurred by {_BLUR} pixel': [image.filter(blur) for image in others],
  }
  return {name: np.stack(list(map(np.array, s))) for name, s in found.items()}


def _as_jpeg(image: Image.Image) -> Image.Image:
  stream = io.BytesIO()
  image.save(stream, 'JPEG', quality=_QUALITY)
  return Image.open(stream, formats=['JPEG']).convert('RGB')


def inception_features(dialect: dialects.Dialect, folder: str) -> Extract:
  """Inception as a dialect uses it."""
  found = extractors.inception(dialect, folder)
  return lambda images: found(images)['pool']


def lite0_features(dialect: dialects.Dialect, folder: str) -> Extract:
  """EfficientNet-Lite0 on images that are resized as a dialect does."""
  kinds = ('efficientnet_lite0',)
  described = networks.describe(folder, kinds=kinds, flag='--classifier')
  model = efficientnet.EfficientNetLite0(**described.fields)
  shape = jax.ShapeDtypeStruct((1, _LITE0_SIZE, _LITE0_SIZE, 3), np.float32)
  unit = dialect.scale == '2x-1'  # Then pixels are in [0, 1].

  def scale(pixels: Array) -> Array:
    return ((255 * pixels if unit else pixels) - 127) / 128

  found = extractors.Extractor(
      model,
      networks.restore(
          folder, described, build.network_variables(model, shape)
      ),
      resize=dialect.resize,
      size=_LITE0_SIZE,
      scale=scale,
      keys={'pool': 'pool'},
      description={},
  )
  return lambda images: found(images)['pool']


def distances(
    extract: Extract, sets: Mapping[str, np.ndarray], bar: tqdm.tqdm
) -> dict[str, float]:
  """The Frechet distance of each set from the reference, by name."""

  def features(images: np.ndarray) -> np.ndarray:
    parts = []
    for start in range(0, len(images), _BATCH):
      parts.append(extract(images[start : start + _BATCH]))
      bar.update(len(parts[-1]))
    return np.concatenate(parts)

  reference = features(sets['reference'])
  return {
      name: frechet.from_features(reference, features(images))
      for name, images in sets.items()
      if name != 'reference'
  }


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  command.define_path('inception', None, 'Converted Inception.', values)
  command.define_path(
      'classifier', None, 'Converted EfficientNet-Lite0.', values
  )
  flags.DEFINE_integer(
      'count', 1000, 'Images of each set.', lower_bound=2, flag_values=values
  )
  return values


def _print(values: flags.FlagValues) -> None:
  if (values.inception is None) == (values.classifier is None):
    raise ValueError('Give one of --inception and --classifier.')
  sets = image_sets(values.count)
  # Dialects with the same features have one line.
  groups: dict[tuple[str, str], list[dialects.Dialect]] = {}
  for dialect in dialects.DIALECTS.values():
    groups.setdefault((dialect.resize, dialect.scale), []).append(dialect)
  rows = []
  total = len(groups) * len(sets) * values.count
  with tqdm.tqdm(total=total, unit='image') as bar:
    for (resize, _), group in groups.items():
      extract = (
          lite0_features(group[0], values.classifier)
          if values.classifier
          else inception_features(group[0], values.inception)
      )
      names = ', '.join(dialect.name for dialect in group)
      rows.append((f'{names} ({resize})', distances(extract, sets, bar)))
  heads = ['dialects', *rows[0][1]]
  print(f'| {" | ".join(heads)} |\n|{"---|" * len(heads)}')
  for name, found in rows:
    cells = [f'{value:.4f}' for value in found.values()]
    print(f'| {" | ".join([name, *cells])} |')


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _print))
