"""Order, augmentation and pixels depend only on the seed and the step.

Each source is read by 1, 2 and 4 processes, by 0 and 2 workers, and from a
step on, with and without broken examples.
"""

import dataclasses
import io

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from rq_jax.config import sections
from rq_jax.data import loader
from rq_jax.data import sources
from tests.data import batches as batches_lib
from tests.data import caches
from tests.data import pictures
from tests.data import tars
from tests.data import tfds_datasets

BATCH, STEPS = 8, 5


def digits(_):
  return sections.Data(source='digits', image_size=8)


def photographs(count):
  """The contents of JPEG files, crops of two photographs."""
  photos = list(map(Image.fromarray, datasets.load_sample_images().images))
  crops = [
      photos[i % 2].crop((9 * i, 5 * i, 9 * i + 48, 5 * i + 40))
      for i in range(count)
  ]
  return [pictures.encoded(crop, 'JPEG', quality=90) for crop in crops]


def cut(content):
  return content[: len(content) // 2]


def images(source, path, **fields):
  """Images of a source, cropped and mirrored at random."""
  return sections.Data(
      source=source,
      path=str(path),
      image_size=16,
      crop='random_resized',
      flip=True,
      **fields,
  )


def image_folder(folder):
  """Crops of photographs, in two classes."""
  for i, content in enumerate(photographs(16)):
    file = folder / f'class{i % 2}' / f'{i // 2}.jpg'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
  return images('image_folder', folder)


def broken_folder(folder):
  """As `image_folder`; three files cannot be read, two of them in a row."""
  data = image_folder(folder)
  for name in ('class0/1.jpg', 'class0/2.jpg', 'class1/7.jpg'):
    (folder / name).write_bytes(b'')
  return dataclasses.replace(data, on_error='skip', max_errors=3)


def tfds(folder):
  """Crops of photographs, the third of which cannot be read."""
  examples = [
      {'image': io.BytesIO(content), 'label': i % 3}
      for i, content in enumerate(photographs(16))
  ]
  examples[2]['image'] = io.BytesIO(cut(examples[2]['image'].getvalue()))
  path = tfds_datasets.write(folder, {'train': examples, 'test': examples[:5]})
  return images('tfds', path, on_error='skip')


def webdataset(folder):
  """Two tar files of crops of photographs; one of these cannot be read."""
  contents = photographs(16)
  contents[2] = cut(contents[2])
  for shard in range(2):
    samples = {}
    for i in range(8 * shard, 8 * shard + 8):
      samples |= {f'{i:02d}.jpg': contents[i], f'{i:02d}.cls': b'%d' % (i % 3)}
    tars.write(folder / f'{shard}.tar', samples)
  return images('webdataset', folder, on_error='skip')


def features(folder):
  rng = np.random.default_rng(0)
  caches.write(folder, rng.normal(size=(12, 2, 2, 3)), np.arange(12))
  return sections.Data(source='features', path=str(folder))


SOURCES = (digits, image_folder, broken_folder, tfds, webdataset, features)


def taken(data, count=STEPS, **options):
  """The first training batches of one process."""
  return batches_lib.first(
      count,
      sources.open_source(data, 'train'),
      transform=loader.image_transform(data, train=True),
      batch_size=BATCH,
      seed=3,
      max_errors=loader.error_limit(data),
      **options,
  )


@pytest.fixture(params=SOURCES, ids=lambda make: make.__name__)
def data(request, tmp_path):
  return request.param(tmp_path / 'data')


def test_processes_and_restarts_change_no_batch(data):
  whole = taken(data)
  for count in (2, 4):
    parts = [
        taken(data, process_index=i, process_count=count) for i in range(count)
    ]
    batches_lib.assert_same(batches_lib.joined(parts), whole)
  batches_lib.assert_same(taken(data, 2, step=3), whole[3:])
  parts = [
      taken(data, 2, step=3, process_index=i, process_count=2) for i in (0, 1)
  ]
  batches_lib.assert_same(batches_lib.joined(parts), whole[3:])
  if data.on_error == 'skip':  # Otherwise, nothing is broken.
    assert any(batch['replaced'].any() for batch in whole)


@pytest.mark.process
def test_workers_change_no_batch_also_after_a_restart(data):
  whole = taken(data)
  batches_lib.assert_same(taken(data, 3, step=2, workers=2), whole[2:])


def test_evaluation_reads_the_same_pixels_in_any_process(data):
  def evaluated(**options):
    return batches_lib.whole_pass(
        sources.open_source(data, 'train'),
        transform=loader.image_transform(data, train=False),
        batch_size=BATCH,
        count=20,
        max_errors=loader.error_limit(data),
        **options,
    )

  whole = evaluated()
  for count in (2, 4):
    parts = [
        evaluated(process_index=i, process_count=count) for i in range(count)
    ]
    batches_lib.assert_same(batches_lib.joined(parts), whole)
