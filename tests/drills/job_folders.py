"""Folders that jobs write, and what a user gets from them.

Each kind of folder has a function that writes one, and a function that returns
all that a user would read: arrays as bytes, texts, labels. Jobs are run again
first, as a user would after a fault.
"""

from collections.abc import Callable
import functools
import pathlib
from typing import Any, NamedTuple

import numpy as np

from rq_jax.config import sections
from rq_jax.data.sources import features
from rq_jax.data.sources import tfds
from rq_jax.data.sources import webdataset
from rq_jax.jobs.encode import job as encode
from rq_jax.jobs.evaluate import opening
from rq_jax.jobs.sample import layout
from tests.data import caches
from tests.data import tars
from tests.jobs import encoding
from tests.jobs import generators
from tests.jobs import kills
from tests.jobs import rejection
from tests.jobs.evaluate import fakes
from tests.jobs.prepare import folders

# Files of locks, and a description that no result depends on.
IGNORED = ('.lock', '.heartbeat', 'encoded.json')


class Kind(NamedTuple):
  """A kind of folder.

  Attributes:
    write: Writes a folder, which is damaged then.
    read: Returns what a user gets from a folder, after the command that wrote
      it, where `again` is true.
    again: Whether that command is run.
  """

  write: Callable[[pathlib.Path], Any]
  read: Callable[[pathlib.Path], Any]
  again: bool = True

  def files(self, folder):
    """All files that rq_jax wrote to a folder, in order."""
    return sorted(
        file
        for file in folder.rglob('*')
        if file.is_file() and not _is_foreign(file)
    )


def _is_foreign(file):
  return file.name in IGNORED or file.suffix == '.tar'


# Caches of features.


def write_cache(folder):
  """A cache of 20 examples in two shards, with two views and texts."""
  values, labels = caches.examples(20, views=2)
  texts = [f'text {i}' for i in range(20)]
  names = tuple(f'class {i}' for i in range(200))
  caches.write(
      folder, values, labels, num_shards=2, texts=texts, class_names=names
  )


def read_cache(folder):
  """All that stage 2 reads of a cache."""
  source = features.Features(folder, 'train')
  found = [
      (
          [np.asarray(view).tobytes() for view in source[i]['features']],
          int(source[i]['label']),
          source.text(i),
      )
      for i in range(len(source))
  ]
  about = source.fingerprint, source.shape, source.views
  return found, about, source.num_classes, source.class_names


# Prepared datasets.


def write_prepared(folder):
  """A prepared dataset of 40 images; its source is beside it."""
  images = folder.parent / 'images'
  if not images.exists():
    folders.write(images)
  folders.prepare(images, folder)


def read_prepared(folder):
  """All that the source `tfds` reads."""
  found = []
  for split in ('train', 'test'):
    data = sections.Data(source='tfds', path=str(folder))
    source = tfds.open_split(data, split)
    found.append([source.content(i) for i in range(len(source))])
    names = [source.name(i) for i in range(len(source))]
    found.append([name.replace(str(folder), '') for name in names])
    found.append([int(source[i]['label']) for i in range(len(source))])
    found.append((source.class_names, source.num_classes))
  return found


def prepare_again(folder):
  """The files of a prepared dataset after the same command again."""
  write_prepared(folder)
  return contents(folder)


# Tar files.


def write_tars(folder):
  """Two tar files whose samples are indexed."""
  for number, rows in enumerate((range(7), range(7, 12))):
    tars.write_samples(
        folder / f'{number}.tar', rows, cls=lambda n: n % 3, txt=str
    )
  read_tars(folder)


def read_tars(folder):
  """All that the source `webdataset` reads."""
  found = []
  for split in ('train', 'test'):
    source = webdataset.WebDataset(folder, split)
    for i in range(len(source)):
      found.append((source.content(i), int(source[i]['label'])))
      found.append(source.text(i))
    found.append((source.num_classes, source.listing))
  return found


# Jobs that draw.


def draw(folder, *, format):
  """Runs a sampling job; returns its files."""
  generators.run_labels(folder, format=format)
  return generators.contents(folder)


def draw_partly(folder, *, format):
  """Runs a sampling job that is killed after two of three chunks."""
  write, written = layout.Files.write, []

  def mortal(self, chunk, *args):
    if len(written) == 2:
      raise kills.Killed
    written.append(chunk)
    return write(self, chunk, *args)

  layout.Files.write = mortal
  try:
    draw(folder, format=format)
  except kills.Killed:
    pass
  finally:
    layout.Files.write = write


def choose(folder):
  """Runs a job with rejection sampling; returns its files."""
  rejection.run(folder, format='npz')
  return generators.contents(folder)


def view(folder):
  """What `evaluate` reads of a folder with images; nothing is drawn."""
  images = opening.open_images(str(folder), flag='--samples')
  pixels = [part.tobytes() for part in images.read([range(len(images))])]
  labels = None if images.labels is None else images.labels.tolist()
  return pixels, labels


# Jobs that encode or evaluate.


def encode_all(folder):
  """Encodes a dataset; returns the files of the cache."""
  encode.encode(encoding.stand_in(), encoding.data(), str(folder))
  return contents(folder)


def encode_partly(folder):
  """Encodes a dataset until a device is lost after three shards."""
  tokenizer = encoding.stand_in(batches=3, then=encoding.fail)
  try:
    encode.encode(tokenizer, encoding.data(), str(folder))
  except RuntimeError:
    return


def evaluate(folder):
  """Evaluates images that lie beside the folder; returns all results."""
  paths = [folder.parent / f'{name}.npz' for name in 'ab']
  if not paths[0].exists():
    fakes.write(paths[0], 40)
    fakes.write(paths[1], 30, seed=1)
  found = fakes.evaluate(folder, *map(str, paths))
  arrays = {}
  for file in sorted((folder / 'features').iterdir()):
    with np.load(file) as stored:
      arrays[file.name] = {n: stored[n].tobytes() for n in stored.files}
  return found, arrays, (folder / 'report.html').read_bytes()


def contents(folder):
  """Bytes of all files of a folder, by name."""
  return {
      str(file.relative_to(folder)): file.read_bytes()
      for file in folder.rglob('*')
      if file.is_file() and not _is_foreign(file)
  }


def _sampling():
  for name in layout.FORMATS:
    run = functools.partial(draw, format=name)
    part = functools.partial(draw_partly, format=name)
    yield f'samples as {name}', Kind(run, run)
    yield f'unfinished samples as {name}', Kind(part, run)
    yield f'samples as {name} for evaluation', Kind(run, view, again=False)


KINDS = {
    'cache': Kind(write_cache, read_cache, again=False),
    'unfinished cache': Kind(encode_partly, encode_all),
    'dataset': Kind(write_prepared, read_prepared, again=False),
    'dataset, prepared again': Kind(write_prepared, prepare_again),
    'index of tar files': Kind(write_tars, read_tars, again=False),
    'evaluation': Kind(evaluate, evaluate),
    'rejection': Kind(choose, choose),
    **dict(_sampling()),
}
