"""Sources of image files return contents and names, and texts if there are."""

import io

import pytest
import tensorflow_datasets as tfds

from rq_jax.config import sections
from rq_jax.data import sources
from tests.data import tars
from tests.data import tfds_datasets

CONTENTS = {f'{i}.jpg': tars.picture(10 * i, 'JPEG') for i in range(3)}


def image_folder(folder):
  for name, content in CONTENTS.items():
    for split in ('train', 'test'):
      file = folder / split / name
      file.parent.mkdir(parents=True, exist_ok=True)
      file.write_bytes(content)
  return folder, [f'{folder}/train/{name}' for name in CONTENTS]


def prepared(folder):
  examples = [
      {'image': io.BytesIO(content), 'file_name': name, 'text': f'on {name}'}
      for name, content in CONTENTS.items()
  ]
  features = {
      'image': tfds.features.Image(encoding_format='jpeg'),
      'file_name': tfds.features.Text(),
      'text': tfds.features.Text(),
  }
  path = tfds_datasets.write(
      folder, {'train': examples, 'test': examples}, features
  )
  shard = path / 'toy-train.array_record-00000-of-00001'
  source = sources.open_source(
      sections.Data(source='tfds', path=str(path)), 'train'
  )
  # TFDS shuffles the examples that it prepares.
  order = [source.text(i).removeprefix('on ') for i in range(len(source))]
  return path, [f'{shard}, record {i} ({n})' for i, n in enumerate(order)]


def webdataset(folder):
  texts = {f'{name[0]}.txt': f'on {name}'.encode() for name in CONTENTS}
  contents = dict(sorted({**CONTENTS, **texts}.items()))
  for split in ('train', 'test'):
    tars.write(folder / f'{split}.tar', contents)
  return folder, [f'{folder}/train.tar/{name}' for name in CONTENTS]


@pytest.mark.parametrize(
    ('name', 'write', 'has_texts'),
    [
        ('image_folder', image_folder, False),
        ('tfds', prepared, True),
        ('webdataset', webdataset, True),
    ],
)
def test_contents_names_and_texts_belong_together(
    tmp_path, name, write, has_texts
):
  path, names = write(tmp_path / 'data')
  source = sources.open_source(
      sections.Data(source=name, path=str(path)), 'train'
  )
  assert isinstance(source, sources.ImageFiles)
  assert [source.name(i) for i in range(3)] == names
  files = [name.split('(')[-1].rstrip(')').split('/')[-1] for name in names]
  assert [source.content(i) for i in range(3)] == [CONTENTS[f] for f in files]
  texts = sources.texts(source)
  if has_texts:
    assert [texts(i) for i in range(3)] == [f'on {file}' for file in files]
  else:
    assert texts is None


def test_the_digits_have_neither_files_nor_texts():
  digits = sources.open_source(sections.Data(source='digits'), 'train')
  assert not isinstance(digits, sources.ImageFiles)
  assert sources.texts(digits) is None
