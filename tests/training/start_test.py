"""A run resumes only on the training examples that its checkpoint names."""

import json
import shutil

import jax
from PIL import Image
import pytest

from rq_jax import compiler_options
from rq_jax.data.sources import image_folder
from rq_jax.distributed import partitioning
from rq_jax.training import stages
from rq_jax.training import start
from tests import tiny
from tests.training import toy

OLDER = 'is from an older version, which knew fewer names of splits'


def write(folder, *paths):
  """Writes images of the size of the toy stage."""
  for path in paths:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (tiny.SIZE, tiny.SIZE)).save(folder / path)


def open_splits(folder):
  return stages.Splits(
      *(image_folder.ImageFolder(folder, split) for split in ('train', 'test'))
  )


def begin(workdir, images):
  """Trains two steps on images."""
  splits = open_splits(images)
  toy.run(workdir, steps=2, splits=splits)
  return splits


def forget(workdir):
  """Rewrites the meta of a checkpoint as older versions wrote it."""
  file = workdir / 'checkpoints' / '2' / 'meta' / 'metadata'
  meta = json.loads(file.read_text())
  del meta['listing'], meta['manifest']
  shutil.rmtree(file.parents[1] / 'manifest')
  file.write_text(json.dumps(meta))


def test_the_same_files_may_move_to_another_folder(tmp_path):
  write(tmp_path / 'a', *(f'cat/{i}.png' for i in range(5)))
  begin(tmp_path / 'run', tmp_path / 'a')
  (tmp_path / 'a').rename(tmp_path / 'b')
  toy.run(tmp_path / 'run', steps=3, splits=open_splits(tmp_path / 'b'))
  assert 3 in toy.saved(tmp_path / 'run')


@pytest.mark.parametrize('name', ['cat/9.png', 'ant/1.png'])
def test_as_many_files_with_other_names_or_labels_are_refused(tmp_path, name):
  images = tmp_path / 'images'
  write(images, *(f'cat/{i}.png' for i in range(5)))
  begin(tmp_path / 'run', images)
  (images / name).parent.mkdir(exist_ok=True)
  (images / 'cat' / '1.png').rename(images / name)
  with pytest.raises(ValueError) as error:
    toy.run(tmp_path / 'run', steps=3, splits=open_splits(images))
  assert str(error.value) == (
      'The names, the order or the labels of the training files have changed'
      ' since step 2 was saved. Restore the data, or start a run in another'
      ' --workdir with --config.init_from.'
  )


@pytest.mark.parametrize(
    ('paths', 'warned'),
    [
        (('train/a/0.png', 'test/a/1.png'), False),
        (('train/a/0.png', 'val/a/1.png'), False),
        (('train/a/0.png', 'valid/a/1.png'), True),
        (('Train/a/0.png', 'test/a/1.png'), True),
        (('train/a/0.png', 'test/a/1.png', 'train/__MACOSX/2.png'), True),
        (tuple(f'a/{i}.png' for i in range(5)), False),
    ],
)
def test_an_older_checkpoint_warns_where_the_rules_have_changed(
    tmp_path, capsys, paths, warned
):
  write(tmp_path / 'images', *paths)
  splits = begin(tmp_path / 'run', tmp_path / 'images')
  forget(tmp_path / 'run')
  toy.run(tmp_path / 'run', steps=3, splits=splits)
  assert (OLDER in capsys.readouterr().out) == warned
  toy.run(tmp_path / 'run', steps=4, splits=splits)
  assert OLDER not in capsys.readouterr().out  # Step 3 names its files.


def test_new_states_are_compiled_with_little_optimization(monkeypatch):
  def options(platform):
    return {f'no_such_{platform}': 1}

  monkeypatch.setattr(compiler_options, 'run_once', options)
  sharding = partitioning.replicated(tiny.one_device())
  with pytest.raises(jax.errors.JaxRuntimeError, match='option: .no_such_cpu'):
    start.initialize(lambda *_: 0, (), jax.random.key(0), sharding)
