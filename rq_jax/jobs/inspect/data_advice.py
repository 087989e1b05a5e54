"""Warnings about a dataset, and the image size to train with."""

from collections.abc import Mapping
import operator
import shlex
from typing import Any

from rq_jax.jobs.inspect import data

# A size is suggested if at most this share of the images would be enlarged.
_ENLARGED = 0.1
# Smallest number of training images for which a size is suggested.
_IMAGES = {32: 0, 64: 200, 128: 5_000, 256: 20_000}
_IMBALANCE = 10  # Times as many images in the largest class as in the smallest.
_FEW = 100
_LONG = 0.4  # Share of the area outside the central square.


def image_size(found: Mapping[str, Any]) -> tuple[int, str]:
  """The image size to train with, and the reason in a sentence.

  Args:
    found: The figures of `data.describe`.
  """
  enlarged = found['sizes']['enlarged']
  images = found['splits']['train']['images']
  fits = [s for s in data.SIZES if enlarged[s] <= _ENLARGED]
  large = max(fits, default=data.SIZES[0])
  size = max(s for s in data.SIZES if s <= large and images >= _IMAGES[s])
  if not fits:
    reason = (
        f'{enlarged[size]:.0%} of the images are smaller and would be enlarged,'
        ' but there is no smaller config'
    )
  elif size < large:
    reason = (
        f'the images are large enough for {large}, but {images:,} training'
        ' images are too few for it'
    )
  elif size < data.SIZES[-1]:
    above = data.SIZES[data.SIZES.index(size) + 1]
    reason = (
        f'at {above}, {enlarged[above]:.0%} of the images would be enlarged'
    )
  else:
    reason = 'the images are large enough, and there are enough of them'
  if size > 64:
    reason += '; on a CPU, use 64, because larger sizes need an accelerator'
  return size, f'{reason[0].upper()}{reason[1:]}.'


def warnings(found: Mapping[str, Any]) -> list[str]:
  """Sentences about what may go wrong in training with a dataset.

  Args:
    found: The figures of `data.describe`.
  """
  sentences = (
      _broken(found),
      _leaked(found),
      _copied(found),
      _similar(found),
      _empty(found),
      _unbalanced(found),
      _few(found),
      _cropped(found),
      _rotated(found),
  )
  return [*found['remarks'], *filter(None, sentences)]


def command(found: Mapping[str, Any], size: int) -> str:
  """The command that trains on a dataset, one flag per line."""
  words = ['python -m rq_jax train']
  words += [f'--config=configs/own/rqvae.py:{size}']
  if found['source'] != 'image_folder':
    words += [f'--config.data.source={found["source"]}']
  words += [shlex.quote(f'--config.data.path={found["path"]}')]
  return ' \\\n    '.join([*words, '--workdir=runs/mine/rqvae'])


def _broken(found: Mapping[str, Any]) -> str | None:
  if not (count := len(found['broken'])):
    return None
  return (
      f'Images that cannot be read: {count:,}. Training stops at the first of'
      ' them. Repair or remove them, or train with'
      ' --config.data.on_error=skip.'
  )


def _leaked(found: Mapping[str, Any]) -> str | None:
  if not (count := found['duplicates']['held_out']):
    return None
  return (
      f'Held-out images that are also in the training split: {count:,}.'
      ' Held-out figures will look too good. Remove one of each pair.'
  )


def _copied(found: Mapping[str, Any]) -> str | None:
  if not (count := found['duplicates']['images']):
    return None
  return f'Images that are exact copies of others: {count:,}.'


def _similar(found: Mapping[str, Any]) -> str | None:
  if not (count := found['similar']['held_out']):
    return None
  return (
      f'Held-out images that look nearly like training images: {count:,}. If'
      ' they are frames of one video or crops of one picture, keep each series'
      ' in one split: use folders train/ and test/.'
  )


def _empty(found: Mapping[str, Any]) -> str | None:
  classes = found['classes']
  empty = [c['name'] for c in classes if not c['train']]
  if len(classes) < 2 or not empty:
    return None
  return f'No training image was found of these classes: {", ".join(empty)}.'


def _unbalanced(found: Mapping[str, Any]) -> str | None:
  counted = [c for c in found['classes'] if c['train']]
  if not counted:
    return None
  images = operator.itemgetter('train')
  least, most = min(counted, key=images), max(counted, key=images)
  if most['train'] < _IMBALANCE * least['train']:
    return None
  return (
      f'Classes are unbalanced: {least["name"]} has {least["train"]:,} training'
      f' images, and {most["name"]} has {most["train"]:,}. Generated images of'
      ' small classes will be worse.'
  )


def _few(found: Mapping[str, Any]) -> str | None:
  images = found['splits']['train']['images']
  if images >= _FEW:
    return None
  return (
      f'There are only {images:,} training images, so the model will repeat'
      ' them. Use at least a few hundred.'
  )


def _cropped(found: Mapping[str, Any]) -> str | None:
  share = found['sizes']['cropped_away']
  if share < _LONG:
    return None
  return (
      f'On average, {share:.0%} of an image lies outside its central square and'
      ' is cropped away. With --config.data.crop=random, training uses all'
      ' parts of it.'
  )


def _rotated(found: Mapping[str, Any]) -> str | None:
  if not (count := found['rotated']):
    return None
  return (
      f'Files that store a rotation (EXIF): {count:,}.'
      ' --config.data.exif_rotation decides whether it is applied.'
  )
