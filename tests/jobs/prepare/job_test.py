"""A folder becomes a dataset that TFDS opens, with the bytes of its files."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from rq_jax import files
from rq_jax.data import image_files
from rq_jax.data.sources import image_folder
from rq_jax.data.sources import splits
from rq_jax.data.sources import tfds as tfds_source
from rq_jax.jobs.prepare import job
from rq_jax.jobs.prepare import origins
from tests.jobs.prepare import folders


def test_tfds_opens_the_dataset(images, tmp_path):
  folders.prepare(images, tmp_path / 'out')
  builder = tfds.builder_from_directory(tmp_path / 'out')
  assert builder.info.features['label'].names == list(folders.CLASSES)
  for split in splits.SPLITS:
    folder = image_folder.ImageFolder(images, split)
    source = builder.as_data_source(split)
    assert len(source) == len(folder) > 0
    assert builder.info.splits[split].num_bytes == sum(
        len(record) for record in folders.records(tmp_path / 'out', split)
    )
    for i, expected in enumerate(source):
      np.testing.assert_array_equal(folder[i]['image'], expected['image'])
      assert folder[i]['label'] == expected['label']


def test_the_bytes_of_all_files_are_kept(images, tmp_path):
  folders.prepare(images, tmp_path / 'out')
  expected = {
      f'{name}/{file.name}': (file.read_bytes(), label)
      for label, name in enumerate(folders.CLASSES)
      for file in (images / name).iterdir()
  }
  found = [folders.stored(tmp_path / 'out', split) for split in splits.SPLITS]
  assert found[0] | found[1] == expected
  assert len(found[0]) + len(found[1]) == len(expected)


def test_training_reads_what_it_would_read_from_the_folder(images, tmp_path):
  folders.prepare(images, tmp_path / 'out')
  for split in splits.SPLITS:
    folder = image_folder.ImageFolder(images, split)
    source = tfds_source.Prepared(tmp_path / 'out', split)
    assert source.class_names == folders.CLASSES
    assert len(source) == len(folder)
    for i in range(len(folder)):
      np.testing.assert_array_equal(source[i]['image'], folder[i]['image'])
      assert source[i]['label'] == folder[i]['label']


def test_the_manifest_has_the_hash_of_every_shard(images, tmp_path):
  out = tmp_path / 'out'
  folders.prepare(images, out)
  manifest = json.loads((out / 'manifest.json').read_text())
  names = sorted(file.name for file in out.glob('*.array_record-*'))
  assert sorted(s['file'] for s in manifest['shards']) == names
  assert len(names) > 3
  for shard in manifest['shards']:
    content = (out / shard['file']).read_bytes()
    assert hashlib.sha256(content).hexdigest() == shard['written']['sha256']
    assert len(content) == shard['written']['file_bytes']
  examples = {'train': 32, 'test': 8}
  assert manifest['examples'] == examples
  assert sum(s['written']['examples'] for s in manifest['shards']) == 40
  assert str(tmp_path) not in (out / 'manifest.json').read_text()


def test_a_dataset_without_classes_has_no_labels(images, tmp_path):
  folders.prepare(images / 'cat', tmp_path / 'out')
  builder = tfds.builder_from_directory(tmp_path / 'out')
  assert set(builder.info.features) == {'image', 'file_name'}
  assert tfds_source.Prepared(tmp_path / 'out').class_names is None


class _Captioned:
  """Two images with captions and numbers of classes, but without names."""

  num_bytes, num_classes, class_names = 1000, 4, None
  has_texts, listing = True, 'a hash'

  def __init__(self, images):
    self._contents = [f.read_bytes() for f in sorted(images.iterdir())[:2]]

  def __len__(self):
    return 2

  def __getitem__(self, index):
    return origins.Raw(
        content=self._contents[index],
        name='caf\udce9.jpg',
        label=index + 2,
        text=f'Ein Bär, {index}',
    )


def test_texts_and_numbers_of_classes_are_kept(images, tmp_path):
  out = tmp_path / 'out'
  opened = {'train': _Captioned(images / 'cat')}
  job.run(opened, str(out), name='own', src='', options=job.Options())
  builder = tfds.builder_from_directory(out)
  assert builder.info.features['label'].num_classes == 4
  examples = list(builder.as_data_source('train'))
  assert [e['text'].decode() for e in examples] == ['Ein Bär, 0', 'Ein Bär, 1']
  assert [e['label'] for e in examples] == [2, 3]
  # A byte that is not UTF-8 is written in hexadecimal.
  assert examples[0]['file_name'] == rb'caf\udce9.jpg'
  source = tfds_source.Prepared(out)
  assert (source.num_classes, source.class_names) == (4, None)
  assert source.text(0) == 'Ein Bär, 0'


def test_a_broken_image_is_an_error_that_names_it(images, tmp_path):
  (images / 'dog' / '03.jpg').write_bytes(b'no image')
  words = r'^dog/03\.jpg is not a JPEG.* leave such .* --on_error=skip\.'
  with pytest.raises(image_files.BrokenImageError, match=words):
    folders.prepare(images, tmp_path / 'out')
  assert not list((tmp_path / 'out').glob('*.partial'))


def test_broken_images_can_be_left_out(images, tmp_path):
  out = tmp_path / 'out'
  (images / 'cat' / '04.png').write_bytes(b'')  # In the test split.
  (images / 'dog' / '03.jpg').write_bytes(b'no image')
  (images / 'dog' / '05.webp').unlink()
  (images / 'dog' / '05.webp').symlink_to('missing')
  sentence = folders.prepare(images, out, skip=True)
  assert sentence.startswith(f'37 images are in {out}; prepared at')
  assert f'left out because they cannot be read: 3. {out}' in sentence
  assert f'All 37 images were in {out} ' in folders.prepare(
      images, out, skip=True
  )
  lines = (out / 'refused.jsonl').read_text().splitlines()
  refused = [json.loads(line) for line in lines]
  assert [(r['split'], r['name']) for r in refused] == [
      ('train', 'dog/03.jpg'),
      ('train', None),
      ('test', 'cat/04.png'),
  ]
  assert 'dog/05.webp is a link to a file that is missing' in (
      refused[1]['reason']
  )
  train = image_folder.ImageFolder(images, 'train')
  assert train.path(refused[0]['row']).endswith('dog/03.jpg')
  assert len(folders.stored(out, 'train')) == 30
  assert len(tfds_source.Prepared(out, 'test')) == 7


def test_finished_shards_are_kept_when_broken_images_are_left_out(
    images, tmp_path
):
  out = tmp_path / 'out'
  broken = images / 'dog' / '03.jpg'
  whole = broken.read_bytes()
  broken.write_bytes(b'no image')
  with pytest.raises(image_files.BrokenImageError):
    folders.prepare(images, out)
  before = {f.name: f.stat().st_mtime_ns for f in out.glob('*.array_record-*')}
  assert before
  folders.prepare(images, out, skip=True)
  for name in before:
    if not name.endswith('.json'):
      assert (out / name).stat().st_mtime_ns == before[name]
  broken.write_bytes(whole)
  folders.prepare(images, tmp_path / 'fail')
  left = set(folders.stored(tmp_path / 'fail', 'train'))
  assert left - set(folders.stored(out, 'train')) == {'dog/03.jpg'}


def test_a_split_of_broken_images_is_an_error(images, tmp_path):
  for i in range(4, 20, 5):
    for name in folders.CLASSES:
      next((images / name).glob(f'{i:02d}.*')).write_bytes(b'?')
  words = "No image of the split 'test'.* cat/04.png is not a JPEG"
  with pytest.raises(ValueError, match=words):
    folders.prepare(images, tmp_path / 'out', skip=True)
  assert [file.name for file in (tmp_path / 'out').iterdir()] == ['.lock']


def test_the_corrected_command_follows_one_that_refused_all(images, tmp_path):
  with pytest.raises(ValueError, match='more than --max_pixels=1'):
    folders.prepare(images, tmp_path / 'out', skip=True, max_pixels=1)
  folders.prepare(images, tmp_path / 'out', skip=True)
  assert len(tfds_source.Prepared(tmp_path / 'out')) == 32


def test_a_full_disk_is_an_error_before_any_image_is_read(
    images, tmp_path, monkeypatch
):
  monkeypatch.setattr(files, 'free_bytes', lambda _: 1000)
  monkeypatch.setattr(image_files, 'content', None)
  with pytest.raises(files.DiskFullError, match='is full: 1.0 kB are free'):
    folders.prepare(images, tmp_path / 'out')
  assert not list((tmp_path / 'out').glob('*.json'))


def test_a_folder_with_something_else_is_refused(images, tmp_path):
  (tmp_path / 'notes.txt').touch()
  words = 'is not empty: it contains images'
  with pytest.raises(ValueError, match=words):
    folders.prepare(images, tmp_path)
  with pytest.raises(ValueError, match='is remote'):
    folders.prepare(images, 'gs://bucket/out')
  with pytest.raises(ValueError, match='cannot be written: Not a directory'):
    folders.prepare(images, tmp_path / 'notes.txt' / 'out')


@pytest.mark.parametrize('name', ['a\nb', ' a', ''])
def test_names_that_tfds_cannot_store_are_refused(images, tmp_path, name):
  opened = {'train': _Captioned(images / 'cat')}
  opened['train'].class_names = ('x', name)
  with pytest.raises(ValueError, match='cannot be stored'):
    job.run(
        opened, str(tmp_path / 'o'), name='a', src='', options=job.Options()
    )
  assert not (tmp_path / 'o').exists()
