"""Folders of small images, how they are prepared, and what that leaves."""

import io

from array_record.python import array_record_module
import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from rq_jax.jobs.prepare import job
from rq_jax.jobs.prepare import origins

CLASSES = ('cat', 'dog')
# Each shard of a dataset of 40 images holds a few of them.
SHARD_BYTES = 12_000


def write(folder, count=20):
  """Writes JPEG, PNG and WebP files in class folders; returns their bytes."""
  rng = np.random.default_rng(0)
  written = {}
  for name in CLASSES:
    (folder / name).mkdir(parents=True)
    for i in range(count):
      kind = ('jpg', 'png', 'webp')[i % 3]
      # Of different sizes, some larger than the tests resize to.
      pixels = rng.integers(0, 256, (16 + i, 24, 3), np.uint8)
      file = folder / name / f'{i:02d}.{kind}'
      Image.fromarray(pixels).save(file)
      written[f'{name}/{file.name}'] = file.read_bytes()
  return written


def prepare(images, out, **options):
  """Prepares a folder of images with two threads; returns the sentence."""
  opened = origins.open_splits('folder', str(images))
  chosen = job.Options(**{'workers': 2} | options)
  return job.run(
      opened, str(out), name='folder', src=str(images), options=chosen
  )


def contents(folder):
  """Bytes of all files in a folder by name, without the lock."""
  return {
      file.name: file.read_bytes()
      for file in folder.iterdir()
      if file.name != '.lock'
  }


def stored(folder, split):
  """Bytes and labels of a split by file name, as TFDS reads them."""
  source = tfds.builder_from_directory(folder).as_data_source(
      split, decoders={'image': tfds.decode.SkipDecoding()}
  )
  return {
      example['file_name'].decode(): (example['image'], example.get('label'))
      for example in source
  }


def records(folder, split):
  """The records of a split, as the library of the format reads them."""
  for file in sorted(folder.glob(f'*-{split}.array_record-*')):
    reader = array_record_module.ArrayRecordReader(str(file))
    yield from reader.read_all()
    reader.close()


def image_of(content):
  """The image in the bytes of a file."""
  return Image.open(io.BytesIO(content), formats=('JPEG', 'PNG', 'WEBP'))
