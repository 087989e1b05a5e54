"""Opens images, whatever files they are in."""

import dataclasses
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.config import sections
from rq_jax.config import sizes
from rq_jax.data import sources
from rq_jax.data.image_tree import arrangement
from rq_jax.data.sources import splits
from rq_jax.distributed import processes
from rq_jax.evaluation import references
from rq_jax.jobs import file_hashes
from rq_jax.jobs import manifest
from rq_jax.jobs.evaluate import array_images
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import listed_images
from rq_jax.jobs.inspect import detection
from rq_jax.jobs.sample import layout

_FORMS = (
    'Give a .npz file with arr_0, a folder that `python -m rq_jax sample`'
    ' wrote, a folder of images, a .tar file, or a dataset and a split as'
    f' FOLDER:{"|".join(splits.SPLITS)}.'
)


def open_images(
    given: str, *, flag: str, image_size: sizes.ImageSize | None = None
) -> image_sets.ImageSet:
  """Opens the images that a flag names.

  Args:
    given: A .npz file, a folder that `sample` wrote, a folder of images, a .tar
      file, or FOLDER:SPLIT for a split of a dataset.
    flag: Name of the flag, such as '--samples'.
    image_size: Size that images are resized and cropped to; None for no change.

  Raises:
    ValueError: If there are no such images.
  """
  named = f'{flag}={given}'
  path, _, split = given.rpartition(':')
  if path and split in splits.SPLITS and not epath.Path(given).exists():
    source = detection.source_of(path, flag=flag)
    data = sections.Data(source=source, path=path)
    return open_split(data, split, flag=named, image_size=image_size)
  file = epath.Path(given)
  if not file.exists():
    raise ValueError(f'{named}: there is no such file or folder. {_FORMS}')
  if file.is_dir():
    return _open_folder(file, named, image_size)
  if given.lower().endswith('.tar'):
    return listed_images.of_tar(given, flag=named, image_size=image_size)
  if given.lower().endswith('.npz'):
    return array_images.Arrays([given], flag=named, image_size=image_size)
  raise ValueError(f'{named} is none of the files that are read. {_FORMS}')


def open_split(
    data: sections.Data,
    split: str,
    *,
    flag: str,
    image_size: sizes.ImageSize | None,
) -> listed_images.Listed:
  """Opens a split of a dataset.

  Args:
    data: The section `data` of an experiment.
    split: 'train' or 'test'.
    flag: The flag and value that name it, for errors.
    image_size: Size that images are resized and cropped to; None for no change.

  Raises:
    ValueError: If there is no such split.
  """
  return listed_images.of_split(
      sources.open_source(data, split),
      split,
      data=data,
      flag=flag,
      image_size=image_size,
  )


def _open_folder(
    folder: epath.Path, named: str, image_size: sizes.ImageSize | None
) -> image_sets.ImageSet:
  drawn = (folder / manifest.NAME).exists()
  if drawn and not (folder / layout.GRID).exists():
    raise ValueError(
        f'{named} is unfinished: it has a {manifest.NAME}, but no'
        f' {layout.GRID}. Run the command that wrote it again.'
    )
  if not drawn and (folder / file_hashes.NAME).exists():
    raise ValueError(
        f'{named} is incomplete: it has a {file_hashes.NAME}, but no'
        f' {manifest.NAME}. Copy the whole folder.'
    )
  if drawn:
    processes.only_first(lambda: file_hashes.require_complete(folder))
  archives = sorted(p for p in folder.iterdir() if p.suffix == '.npz')
  if archives:
    return array_images.Arrays(archives, flag=named, image_size=image_size)
  tops = {entry.name.lower() for entry in folder.iterdir() if entry.is_dir()}
  has_splits = tops & {*arrangement.TRAINING} and tops & {*arrangement.HELD_OUT}
  if has_splits or detection.source_of(str(folder)) != 'image_folder':
    raise ValueError(
        f'{named} is a dataset with splits. Name one of them, as in'
        f' {named}:{splits.SPLITS[-1]}.'
    )
  listed = listed_images.of_folder(folder, flag=named, image_size=image_size)
  labels = folder / layout.LABELS
  if not drawn or not labels.exists():
    return listed
  found = np.asarray(files.read_json(labels))
  if found.shape != (len(listed),) or found.dtype.kind != 'i':
    raise ValueError(
        f'{labels} must hold one number for each of the {len(listed)} images in'
        ' its folder. Draw the images again.'
    )
  return dataclasses.replace(listed, labels=found.astype(np.int32))


def open_reference(
    given: str, *, image_size: sizes.ImageSize | None = None
) -> dict[str, Any]:
  """Opens the images or the statistics that --reference names.

  Args:
    given: As for `open_images`, or a file of statistics.
    image_size: Size that images are resized and cropped to; None for no change.

  Returns:
    'reference', the images, and 'statistics'. Files of ADM have both.

  Raises:
    ValueError: If there is nothing to compare with.
  """
  named = f'--reference={given}'
  if not given.lower().endswith(('.npz', '.pt')):
    images = open_images(given, flag='--reference', image_size=image_size)
    return {'reference': images}
  statistics = references.read(given)
  found: dict[str, Any] = {}
  if statistics.mean is not None or statistics.features is not None:
    found['statistics'] = statistics
  if statistics.images is not None:
    found['reference'] = array_images.Arrays(
        [given], flag=named, image_size=image_size
    )
  return found
