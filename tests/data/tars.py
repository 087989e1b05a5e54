"""Tar files for tests, as different programs write them."""

import io
import json
import tarfile

import numpy as np
from PIL import Image
import webdataset


def write(path, contents, **options):
  """Writes contents by name with Python's tarfile."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, 'w', **options) as tar:
    for name, content in contents.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))
  return path


def picture(number, kind='PNG'):
  """An image file of 4x6 pixels, all of them `number`."""
  buffer = io.BytesIO()
  pixels = np.full((4, 6, 3), number, np.uint8)
  Image.fromarray(pixels).save(buffer, kind, lossless=True)
  return buffer.getvalue()


def write_samples(path, numbers, **fields):
  """Writes samples with webdataset's own writer.

  Args:
    path: The tar file.
    numbers: The number in the key and in the pixels of each sample.
    **fields: By ending, functions from the number to the content.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  with webdataset.TarWriter(str(path)) as writer:
    for number in numbers:
      sample = {name: make(number) for name, make in fields.items()}
      key = f'{number:09d}'
      writer.write({'__key__': key, 'png': picture(number), **sample})
  return path


def write_downloaded(path, numbers):
  """Writes samples with the names and fields of img2dataset."""
  contents = {}
  for number in numbers:
    about = {'caption': f'caption {number}', 'url': 'http://x', 'status': 'ok'}
    contents[f'{number:09d}.jpg'] = picture(number, 'JPEG')
    contents[f'{number:09d}.txt'] = about['caption'].encode()
    contents[f'{number:09d}.json'] = json.dumps(about).encode()
  return write(path, contents)
