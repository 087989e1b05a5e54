"""Tiny archives in the form of the official ones of ImageNet."""

import io
import tarfile

import numpy as np
from PIL import Image
import scipy.io

# Two classes have the same first word. Their identifiers are not in the order
# of the challenge's numbers.
SYNSETS = {
    3: ('n02012849', 'crane'),
    1: ('n03126707', 'Crane'),
    2: ('n01440764', 'tench, Tinca tinca'),
}
CLASS_NAMES = ('tench', 'crane n02012849', 'Crane n03126707')
WNIDS = ('n01440764', 'n02012849', 'n03126707')
_GROUP = (1001, 'n00001740', 'entity')  # It has children.
TRUTH = (3, 1, 2, 2)  # Numbers of the challenge.
TRUTH_LABELS = (1, 2, 0, 0)


def picture(seed, kind='JPEG', mode='RGB'):
  """The content of an image file."""
  rng = np.random.default_rng(seed)
  pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).convert(mode).save(buffer, kind)
  return buffer.getvalue()


def tar(members):
  """The content of a tar file."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w') as archive:
    for name, content in members.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return buffer.getvalue()


def training():
  """The training images of each class, by name. One is CMYK, one a PNG."""
  images = {
      wnid: {f'{wnid}_{i}.JPEG': picture(10 * k + i) for i in range(3)}
      for k, wnid in enumerate(WNIDS)
  }
  images['n01440764']['n01440764_1.JPEG'] = picture(90, mode='CMYK')
  images['n02012849']['n02012849_2.JPEG'] = picture(91, kind='PNG')
  return images


def validation():
  """The validation images by name."""
  return {
      f'ILSVRC2012_val_{number:08d}.JPEG': picture(50 + number)
      for number in range(1, 1 + len(TRUTH))
  }


def write(folder):
  """Writes the three archives."""
  folder.mkdir(parents=True, exist_ok=True)
  classes = {f'{wnid}.tar': tar(them) for wnid, them in training().items()}
  (folder / 'ILSVRC2012_img_train.tar').write_bytes(tar(classes))
  (folder / 'ILSVRC2012_img_val.tar').write_bytes(tar(validation()))
  start = 'ILSVRC2012_devkit_t12'
  with tarfile.open(folder / f'{start}.tar.gz', 'w:gz') as archive:
    for name, content in devkit().items():
      member = tarfile.TarInfo(f'{start}/{name}')
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return folder


def devkit():
  """The files of the development kit that matter."""
  rows = [(number, *words, 0) for number, words in SYNSETS.items()]
  rows.append((*_GROUP, 3))
  synsets = np.zeros(
      (len(rows), 1),
      [(name, object) for name in _FIELDS],
  )
  for row, values in zip(synsets[:, 0], rows, strict=True):
    for name, value in zip(_FIELDS, values, strict=True):
      row[name] = value
  meta = io.BytesIO()
  scipy.io.savemat(meta, {'synsets': synsets})
  truth = ''.join(f'{number}\n' for number in TRUTH)
  return {
      'readme.txt': b'Read me.',
      'data/meta.mat': meta.getvalue(),
      'data/ILSVRC2012_validation_ground_truth.txt': truth.encode(),
  }


_FIELDS = ('ILSVRC2012_ID', 'WNID', 'words', 'num_children')
