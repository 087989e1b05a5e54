"""Order, augmentation and pixels depend only on the seed and the step.

Each source is read by 1, 2 and 4 processes, by 0 and 2 workers, and from a
step on, with and without broken examples.
"""

import dataclasses
import itertools
import os

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from rq_jax.config import sections
from rq_jax.data import loader
from rq_jax.data import sources
from tests.data import caches

BATCH, STEPS = 8, 5


def digits(_):
  return sections.Data(source='digits', image_size=8)


def image_folder(folder):
  """Crops of photographs, in two classes."""
  for label, photo in enumerate(datasets.load_sample_images().images):
    os.makedirs(folder / f'class{label}')
    for i in range(8):
      crop = Image.fromarray(photo).crop((9 * i, 5 * i, 9 * i + 48, 5 * i + 40))
      crop.save(folder / f'class{label}' / f'{i}.jpg', quality=90)
  return sections.Data(
      source='image_folder',
      path=str(folder),
      image_size=16,
      crop='random_resized',
      flip=True,
  )


def broken_folder(folder):
  """As `image_folder`; three files cannot be read, two of them in a row."""
  data = image_folder(folder)
  for name in ('class0/1.jpg', 'class0/2.jpg', 'class1/7.jpg'):
    (folder / name).write_bytes(b'')
  return dataclasses.replace(data, on_error='skip', max_errors=3)


def features(folder):
  rng = np.random.default_rng(0)
  caches.write(folder, rng.normal(size=(12, 2, 2, 3)), np.arange(12))
  return sections.Data(source='features', path=str(folder))


SOURCES = (digits, image_folder, broken_folder, features)


def taken(data, count=STEPS, **options):
  """The first training batches of one process."""
  batches = loader.train_batches(
      sources.open_source(data, 'train'),
      transform=loader.image_transform(data, train=True),
      batch_size=BATCH,
      seed=3,
      max_errors=loader.error_limit(data),
      **options,
  )
  found = list(itertools.islice(batches, count))
  batches.close()
  return found


def joined(parts):
  """Global batches from the batches of each process."""
  return [
      {name: np.concatenate([part[name] for part in row]) for name in row[0]}
      for row in zip(*parts, strict=True)
  ]


def assert_same(batches, expected):
  assert len(batches) == len(expected)
  for batch, reference in zip(batches, expected):
    assert batch.keys() == reference.keys()
    for name, value in batch.items():
      assert value.dtype == reference[name].dtype
      np.testing.assert_array_equal(value, reference[name])


@pytest.fixture(params=SOURCES, ids=lambda make: make.__name__)
def data(request, tmp_path):
  return request.param(tmp_path / 'data')


def test_processes_and_restarts_change_no_batch(data):
  whole = taken(data)
  for count in (2, 4):
    parts = [
        taken(data, process_index=i, process_count=count) for i in range(count)
    ]
    assert_same(joined(parts), whole)
  assert_same(taken(data, 2, step=3), whole[3:])
  parts = [
      taken(data, 2, step=3, process_index=i, process_count=2) for i in (0, 1)
  ]
  assert_same(joined(parts), whole[3:])


@pytest.mark.process
def test_workers_change_no_batch_also_after_a_restart(data):
  whole = taken(data)
  assert_same(taken(data, 3, step=2, workers=2), whole[2:])


def test_evaluation_reads_the_same_pixels_in_any_process(data):
  def evaluated(**options):
    batches = loader.eval_batches(
        sources.open_source(data, 'train'),
        transform=loader.image_transform(data, train=False),
        batch_size=BATCH,
        count=20,
        max_errors=loader.error_limit(data),
        **options,
    )
    found = list(batches)
    batches.close()
    return found

  whole = evaluated()
  for count in (2, 4):
    parts = [
        evaluated(process_index=i, process_count=count) for i in range(count)
    ]
    assert_same(joined(parts), whole)
