"""Damage in a prepared dataset is found, and repaired by the same command."""

import json

import pytest

from rq_jax.config import sections
from rq_jax.data.prepared import manifest
from rq_jax.data.sources import tfds
from tests.jobs.prepare import folders

SHARD = 'folder-train.array_record-00001-of-00003'
DESCRIPTIONS = ('features.json', 'label.labels.txt', 'dataset_info.json')


@pytest.fixture
def prepared(images, tmp_path):
  """The folder of a prepared dataset."""
  folders.prepare(images, tmp_path / 'out')
  return tmp_path / 'out'


def flip(file, position=None):
  content = bytearray(file.read_bytes())
  content[len(content) // 2 if position is None else position] ^= 1
  file.write_bytes(content)


def open_train(folder):
  data = sections.Data(source='tfds', path=str(folder))
  return tfds.open_split(data, 'train')


@pytest.mark.parametrize('name', DESCRIPTIONS)
def test_damaged_descriptions_are_named_when_the_data_is_opened(name, prepared):
  assert len(open_train(prepared)) == 32
  # A digit, or a letter of a class, so that the files stay valid.
  positions = {'label.labels.txt': 0, 'dataset_info.json': None}
  file = prepared / name
  if name == 'features.json':
    file.write_text(file.read_text().replace('"2"', '"3"') + ' ')
  elif name == 'dataset_info.json':
    file.write_text(file.read_text().replace('1.0.0', '1.0.1'))
  else:
    flip(file, positions[name])
  with pytest.raises(ValueError, match=f'{name} is damaged or missing'):
    open_train(prepared)


def test_a_missing_or_damaged_manifest_is_named(prepared):
  file = prepared / 'manifest.json'
  whole = file.read_text()
  for text in (
      whole.replace('"refused": 0', '"refused": 1'),
      whole.replace('"version": 2', '"version": 3'),
      whole.replace('"hash"', '"hasi"'),
      whole[:-20],
  ):
    assert text != whole
    file.write_text(text)
    with pytest.raises(ValueError, match=r'manifest\.json is damaged'):
      open_train(prepared)
  file.unlink()
  with pytest.raises(ValueError, match=r'manifest\.json is missing'):
    open_train(prepared)


def test_swapped_shards_of_one_size_are_named(prepared):
  first, second = (
      prepared / f'folder-train.array_record-0000{i}-of-00003' for i in (0, 1)
  )
  # A swap within the sizes, which are compared, too.
  content = bytearray(first.read_bytes())
  content[-1] ^= 1
  first.write_bytes(content)
  with pytest.raises(ValueError, match=f'{first.name} is damaged'):
    open_train(prepared)
  first.write_bytes(second.read_bytes())
  with pytest.raises(ValueError, match=f'{first.name} is damaged'):
    open_train(prepared)


@pytest.mark.parametrize('name', [SHARD, *DESCRIPTIONS])
@pytest.mark.parametrize('how', ['flipped', 'cut', 'removed'])
def test_the_same_command_makes_only_damaged_files_again(
    name, how, images, prepared, capsys
):
  whole = folders.contents(prepared)
  inodes = {f.name: f.stat().st_ino for f in prepared.glob('*.array_record-*')}
  inodes.pop(name, None)
  file = prepared / name
  if how == 'flipped':
    flip(file)
  elif how == 'cut':
    file.write_bytes(file.read_bytes()[:-2])
  else:
    file.unlink()
  capsys.readouterr()
  sentence = folders.prepare(images, prepared)
  assert folders.contents(prepared) == whole
  assert all((prepared / n).stat().st_ino == i for n, i in inodes.items())
  assert ('of them prepared' in sentence) == (name == SHARD)
  told = f'({name}) is damaged or missing' in capsys.readouterr().out
  assert told == (name != SHARD or how == 'flipped')


def test_a_damaged_shard_of_an_interrupted_job_is_made_again(
    images, prepared, tmp_path, monkeypatch
):
  whole = folders.contents(prepared)
  out = tmp_path / 'x'

  def stop(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr('rq_jax.jobs.prepare.ledger.write_refused', stop)
    with pytest.raises(KeyboardInterrupt):
      folders.prepare(images, out)
  flip(out / SHARD)
  other = 'folder-test.array_record-00000-of-00001.json'
  (out / other).write_text(
      (out / other).read_text().replace('": ', '":', 3)[1:]
  )
  folders.prepare(images, out)
  assert folders.contents(out) == whole


def test_refused_images_are_listed_again(images, tmp_path):
  (images / 'dog' / '03.jpg').write_bytes(b'no image')
  out = tmp_path / 'out'
  folders.prepare(images, out, skip=True)
  whole = folders.contents(out)
  flip(out / 'refused.jsonl')
  folders.prepare(images, out, skip=True)
  assert folders.contents(out) == whole


def test_datasets_of_version_1_are_read(prepared):
  """They have hashes of shards only, and no hash of their own."""
  file = prepared / manifest.NAME
  found = json.loads(file.read_text())
  for name in ('hash', 'descriptions', 'info'):
    del found[name]
  for shard in found['shards']:
    del shard['written']['ends']
  file.write_text(json.dumps(found | {'version': 1}))
  assert len(open_train(prepared)) == 32
  assert 'already' in folders.prepare(prepared.parent / 'images', prepared)
  flip(prepared / SHARD)
  folders.prepare(prepared.parent / 'images', prepared)
  assert manifest.read(prepared)['version'] == 2
  assert len(open_train(prepared)) == 32


def test_datasets_of_others_are_not_compared(prepared):
  for name in ('job.json', 'manifest.json'):
    (prepared / name).unlink()
  assert len(open_train(prepared)) == 32
