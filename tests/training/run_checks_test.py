"""Everything that is checked, and refused, before a run trains."""

import functools
import json
import os
import shutil

import numpy as np
from PIL import Image
import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from rq_jax.training import run
from tests import folders
from tests import tiny
from tests.data import caches


@functools.cache
def begun(stage):
  """The folder of a run that has only saved its initial state."""

  def save(stage, task, config, mesh, workdir, *, splits, total_steps):
    del config, mesh, total_steps
    meta = {'step': 1, 'num_examples': len(splits.train)}
    with runs.Checkpoints(workdir, keep=1) as checkpoints:
      checkpoints.save(1, tiny.initial_state(stage, task), meta)

  folder = folders.new()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(run.loop, 'run', save)
    run.train(run_config(stage), folder)
  return folder


def run_config(stage):
  """The experiment of such a run."""
  tokenizer = str(begun(1)) if stage == 2 else None
  return tiny.run_config(stage, tokenizer=tokenizer)


@pytest.fixture(autouse=True)
def no_step(monkeypatch):
  """Every refusal comes before any training."""
  begun(2)  # Also its tokenizer; both save their initial weights.

  def fail(*_, **__):
    raise AssertionError('Training began.')

  monkeypatch.setattr(run.loop, 'run', fail)


def test_another_tokenizer_is_refused_where_a_run_has_begun(tmp_path):
  """Even though it has the same size and the same path."""
  config = run_config(2)
  config = tiny.changed(config, tokenizer=exported(tmp_path / 'other'))
  with pytest.raises(ValueError, match='fingerprint .* but the model was'):
    run.train(config, begun(2))
  # The config of the run is unchanged.
  assert stored.read_config(begun(2)) == run_config(2)


def exported(path, seed=1):
  """The folder of an untrained tokenizer."""
  other = tiny.untrained_tokenizer(seed)
  inference_copy.export(path, tiny.stage1_config(), other.variables)
  return str(path)


def write_cache(path, *, train=10, test=10):
  """A cache of the untrained tokenizer, with numbers of classes by split."""
  for split, count in (('train', train), ('test', test)):
    caches.write(
        path,
        np.zeros((8, 8, 8, 4)),
        np.zeros(8, int),
        name=split,
        num_classes=count,
        fingerprint=tiny.untrained_tokenizer().fingerprint,
    )
  return path


def test_features_of_another_tokenizer_are_refused(tmp_path):
  cache = write_cache(tmp_path / 'cache')
  changes = dict(data=dict(source='features', path=str(cache)))
  mine = exported(tmp_path / 'mine', seed=0)
  with pytest.raises(AssertionError, match='Training began'):
    run.train(tiny.stage2_config(tokenizer=mine, **changes), tmp_path / 'run')
  other = exported(tmp_path / 'other', seed=1)
  with pytest.raises(ValueError, match='was encoded by tokenizer'):
    run.train(tiny.stage2_config(tokenizer=other, **changes), tmp_path / 'run2')
  assert not (tmp_path / 'run2').exists()


@pytest.mark.parametrize(
    ('counts', 'words'),
    [
        (dict(train=10, test=5), 'the train split of the data has 10 classes'),
        (dict(train=5, test=6), 'the test split of the data has 6 classes'),
    ],
)
def test_labels_without_a_class_are_refused_in_either_split(
    tmp_path, counts, words
):
  config = tiny.stage2_config(
      tokenizer=str(tmp_path / 'none'),  # This is checked only later.
      data=dict(source='features', path=str(write_cache(tmp_path, **counts))),
      model=dict(num_classes=5),
  )
  with pytest.raises(ValueError) as error:
    run.train(config, tmp_path / 'run')
  most = max(counts.values())
  assert str(error.value) == (
      f'config.model.num_classes=5 is too small: {words}, and the model has no'
      f' class for the labels from 5 to {most - 1}. Set'
      f' --config.model.num_classes={most}, or choose other data with'
      ' --config.data.path.'
  )
  assert not (tmp_path / 'run').exists()


def test_images_of_classes_that_the_model_lacks_are_refused(tmp_path):
  tokenizer = str(tmp_path / 'none')
  config = tiny.stage2_config(tokenizer=tokenizer, model=dict(num_classes=5))
  with pytest.raises(ValueError, match='no class for the labels from 5 to 9'):
    run.train(config, tmp_path / 'run')
  for i in range(12):
    folder = tmp_path / 'images' / f'class{i:02d}'
    folder.mkdir(parents=True)
    Image.new('RGB', (9, 9)).save(folder / '0.png')
  images = dict(source='image_folder', path=str(tmp_path / 'images'))
  config = tiny.stage2_config(tokenizer=tokenizer, data=images)
  with pytest.raises(ValueError, match='num_classes=10 is .* has 12 classes'):
    run.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_labels_of_a_cache_that_counts_no_classes_are_refused(tmp_path):
  write_cache(tmp_path / 'cache')
  for split in ('train', 'test'):
    file = tmp_path / 'cache' / split / 'meta.json'
    meta = json.loads(file.read_text())
    del meta['num_classes']
    file.write_text(json.dumps(meta))
  labels = np.array([0, 1, 2, 3, 4, 5, 0, 0], np.int32)
  np.save(tmp_path / 'cache' / 'test' / 'label-00000-of-00001.npy', labels)
  config = tiny.stage2_config(
      tokenizer=exported(tmp_path / 'mine', seed=0),
      data=dict(source='features', path=str(tmp_path / 'cache')),
      model=dict(num_classes=5),
  )
  with pytest.raises(ValueError, match='the test split of the data has 6 cl'):
    run.train(config, tmp_path / 'run')
  config = tiny.changed(config, model=dict(num_classes=6))
  with pytest.raises(AssertionError, match='Training began'):
    run.train(config, tmp_path / 'run')


def test_more_classes_than_the_data_have_are_named_and_not_refused(
    tmp_path, capsys
):
  tokenizer = exported(tmp_path / 'mine', seed=0)
  for classes, line in (
      (12, 'no example trains the classes from 10 to 11.\n'),
      (10, None),
      (0, None),  # An unconditional model reads no labels.
  ):
    config = tiny.stage2_config(
        tokenizer=tokenizer,
        model=dict(num_classes=classes, null_class=False),
    )
    with pytest.raises(AssertionError, match='Training began'):
      run.train(config, tmp_path / f'run{classes}')
    printed = capsys.readouterr().out
    if line:
      assert f'The model has 12 classes, but the data has 10: {line}' in printed
    else:
      assert 'trains the classes' not in printed


def test_a_changed_field_is_refused_by_its_name():
  config = run_config(1)
  config = tiny.changed(config, model=dict(decay=0.5))
  config = tiny.changed(config, optimizer=dict(peak_lr=0.25))
  config = tiny.changed(config, train=dict(log_steps=3))  # This may change.
  with pytest.raises(ValueError) as info:
    run.train(config, begun(1))
  assert 'config.model.decay (was 0.99, is 0.5)' in str(info.value)
  assert 'config.optimizer.peak_lr (was 0.001, is 0.25)' in str(info.value)
  assert 'log_steps' not in str(info.value)
  before = stored.read_config(begun(1))
  assert before == run_config(1)


def test_a_batch_that_the_devices_cannot_share_is_refused(tmp_path):
  config = tiny.stage1_config(data=dict(batch_size=12))
  with pytest.raises(ValueError, match='batch_size=12 must be a multiple of 8'):
    run.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_missing_tokenizer_is_refused(tmp_path):
  config = tiny.stage2_config(tokenizer=str(tmp_path / 'none'))
  with pytest.raises(ValueError, match='none holds no config.json'):
    run.train(config, tmp_path / 'run')
  config = tiny.stage2_config(tokenizer=str(tmp_path / 'empty'))
  (tmp_path / 'empty').mkdir()
  stored.write_config(tmp_path / 'empty', tiny.stage1_config())
  with pytest.raises(ValueError, match='no complete checkpoint yet'):
    run.train(config, tmp_path / 'run')
  config = tiny.stage2_config(tokenizer=str(begun(2)))
  with pytest.raises(ValueError, match='holds an RQ-Transformer'):
    run.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_tokenizer_with_other_codes_is_refused(tmp_path):
  path = exported(tmp_path / 'tokenizer')
  config = tiny.stage2_config(tokenizer=path, model=dict(codebook_size=16))
  with pytest.raises(
      ValueError, match='codebook_size=16, but the tokenizer has 12'
  ):
    run.train(config, tmp_path / 'run')
  config = tiny.stage2_config(tokenizer=path, model=dict(code_shape=(2, 2, 1)))
  with pytest.raises(ValueError, match=r'code_shape=\(2, 2, 1\), but'):
    run.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_perceptual_loss_without_a_network_is_refused(tmp_path):
  loss = dict(perceptual_weight=0.5, perceptual_path=str(tmp_path / 'none'))
  config = tiny.stage1_config(loss=loss)
  with pytest.raises(ValueError, match='none holds no perceptual network'):
    run.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  # With a weight of 0, the path does not matter.
  config = tiny.changed(config, loss=dict(perceptual_weight=0.0))
  with pytest.raises(AssertionError, match='Training began'):
    run.train(config, tmp_path / 'run')


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='--workdir=.*file.* cannot be written'):
    run.train(tiny.stage1_config(), tmp_path / 'file')
  with pytest.raises(ValueError, match='--workdir=.*run cannot be written'):
    run.train(tiny.stage1_config(), tmp_path / 'file' / 'run')
  if os.geteuid():  # Root may write anywhere.
    closed = tmp_path / 'closed'
    closed.mkdir(mode=0o500)
    with pytest.raises(ValueError, match='Permission denied'):
      run.train(tiny.stage1_config(), closed)


def test_weights_to_start_from_that_are_missing_are_refused_at_once(
    tmp_path, monkeypatch
):
  """The error comes before the data, which are also missing, are opened."""
  none = tmp_path / 'none'
  data = dict(source='image_folder', path=str(tmp_path / 'no images'))
  empty = tmp_path / 'runs' / 'empty'
  empty.mkdir(parents=True)
  stored.write_config(empty, tiny.stage1_config())
  for stage, path, words in (
      (1, none, 'none holds no config.json'),
      (1, tmp_path / 'runs', f'a model in it: {empty}, an RQ-VAE'),
      (1, empty, 'holds no complete checkpoint yet'),
      (2, empty, 'holds an RQ-VAE .* but an RQ-Transformer'),
  ):
    make = tiny.stage1_config if stage == 1 else tiny.stage2_config
    config = make(init_from=str(path), data=data)
    match = (
        rf'^config.init_from={path} has no weights to start from\. .*{words}'
    )
    with pytest.raises(ValueError, match=match):
      run.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_weights_to_start_from_are_not_needed_by_a_run_that_resumes(tmp_path):
  folder = tmp_path / 'run'
  shutil.copytree(begun(1), folder)
  config = tiny.changed(run_config(1), init_from=str(tmp_path / 'none'))
  with pytest.raises(AssertionError, match='Training began'):
    run.train(config, folder)


def test_each_split_is_opened_once_before_a_run_resumes(tmp_path, monkeypatch):
  opened = []
  open_source = run.sources.open_source

  def spy(data, split):
    opened.append(split)
    return open_source(data, split)

  monkeypatch.setattr(run.sources, 'open_source', spy)
  cache = write_cache(tmp_path / 'cache')
  mine = exported(tmp_path / 'mine', seed=0)
  config = tiny.stage2_config(
      tokenizer=mine,
      data=dict(source='features', path=str(cache)),
  )
  with pytest.raises(AssertionError, match='Training began'):
    run.train(config, tmp_path / 'run')
  assert sorted(opened) == ['test', 'train']
