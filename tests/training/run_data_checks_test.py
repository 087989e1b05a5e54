"""Data that do not fit a run are refused before it trains."""

import numpy as np
from PIL import Image
import pytest

from rq_jax.checkpoints import stored
from rq_jax.training import run
from tests import tiny
from tests.data import caches
from tests.training import begun_runs

pytestmark = pytest.mark.usefixtures('no_step')


def test_features_of_another_tokenizer_are_refused(tmp_path):
  cache = begun_runs.write_cache(tmp_path / 'cache')
  changes = dict(data=dict(source='features', path=str(cache)))
  mine = begun_runs.exported(tmp_path / 'mine', seed=0)
  with pytest.raises(AssertionError, match='Training began'):
    run.train(tiny.stage2_config(tokenizer=mine, **changes), tmp_path / 'run')
  other = begun_runs.exported(tmp_path / 'other', seed=1)
  with pytest.raises(ValueError, match='was encoded by tokenizer'):
    run.train(tiny.stage2_config(tokenizer=other, **changes), tmp_path / 'run2')
  assert not (tmp_path / 'run2').exists()


def test_another_image_size_than_that_of_the_cache_is_refused_in_new_runs(
    tmp_path,
):
  cache = begun_runs.write_cache(tmp_path / 'cache')
  config = tiny.stage2_config(
      tokenizer=begun_runs.exported(tmp_path / 'mine', seed=0),
      data=dict(source='features', path=str(cache), image_size=32),
  )
  with pytest.raises(ValueError) as error:
    run.train(config, tmp_path / 'run')
  assert str(error.value) == (
      'config.data.image_size=32, but the tokenizer encodes images of 16x16'
      ' pixels. Set --config.data.image_size=16.'
  )
  assert not (tmp_path / 'run').exists()
  # A run that an older version began resumes.
  (tmp_path / 'run').mkdir()
  stored.write_config(tmp_path / 'run', config)
  with pytest.raises(AssertionError, match='Training began'):
    run.train(config, tmp_path / 'run')


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
      data=dict(
          source='features',
          path=str(begun_runs.write_cache(tmp_path, **counts)),
      ),
      model=dict(num_classes=5),
  )
  with pytest.raises(ValueError) as error:
    run.train(config, tmp_path / 'run')
  most = max(counts.values())
  assert str(error.value) == (
      f'config.model.num_classes=5 is too small: {words}, and the model has no'
      ' class for the labels from 5 on. Set'
      f' --config.model.num_classes={most}, or choose other data with'
      ' --config.data.path.'
  )
  assert not (tmp_path / 'run').exists()


def test_images_of_classes_that_the_model_lacks_are_refused(tmp_path):
  tokenizer = str(tmp_path / 'none')
  config = tiny.stage2_config(tokenizer=tokenizer, model=dict(num_classes=5))
  with pytest.raises(ValueError, match='no class for the labels from 5 on\\.'):
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
  for split, most in (('train', 4), ('test', 5)):
    caches.write_version_1(
        tmp_path / 'cache',
        np.zeros((8, 8, 8, 4), np.float16),
        np.minimum(np.arange(8), most),
        (0, 8),
        name=split,
        fingerprint=tiny.untrained_tokenizer().fingerprint,
    )
  config = tiny.stage2_config(
      tokenizer=begun_runs.exported(tmp_path / 'mine', seed=0),
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
  tokenizer = begun_runs.exported(tmp_path / 'mine', seed=0)
  for classes, line in (
      (12, 'no example trains the classes from 10 on.\n'),
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


def test_each_split_is_opened_once_before_a_run_resumes(tmp_path, monkeypatch):
  opened = []
  open_source = run.sources.open_source

  def spy(data, split):
    opened.append(split)
    return open_source(data, split)

  monkeypatch.setattr(run.sources, 'open_source', spy)
  cache = begun_runs.write_cache(tmp_path / 'cache')
  mine = begun_runs.exported(tmp_path / 'mine', seed=0)
  config = tiny.stage2_config(
      tokenizer=mine,
      data=dict(source='features', path=str(cache)),
  )
  with pytest.raises(AssertionError, match='Training began'):
    run.train(config, tmp_path / 'run')
  assert sorted(opened) == ['test', 'train']
