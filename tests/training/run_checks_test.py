"""Everything that is checked, and refused, before a run trains."""

import os
import shutil

import pytest

from rq_jax.checkpoints import stored
from rq_jax.training import run
from tests import tiny
from tests.training import begun_runs

pytestmark = pytest.mark.usefixtures('no_step')


def test_another_tokenizer_is_refused_where_a_run_has_begun(tmp_path):
  """Even though it has the same size and the same path."""
  config = begun_runs.run_config(2)
  config = tiny.changed(
      config, tokenizer=begun_runs.exported(tmp_path / 'other')
  )
  with pytest.raises(ValueError, match='fingerprint .* but the model was'):
    run.train(config, begun_runs.begun(2))
  # The config of the run is unchanged.
  assert stored.read_config(begun_runs.begun(2)) == begun_runs.run_config(2)


def test_a_changed_field_is_refused_by_its_name():
  config = begun_runs.run_config(1)
  config = tiny.changed(config, model=dict(decay=0.5))
  config = tiny.changed(config, optimizer=dict(peak_lr=0.25))
  config = tiny.changed(config, train=dict(log_steps=3))  # This may change.
  with pytest.raises(ValueError) as info:
    run.train(config, begun_runs.begun(1))
  assert 'config.model.decay (was 0.99, is 0.5)' in str(info.value)
  assert 'config.optimizer.peak_lr (was 0.001, is 0.25)' in str(info.value)
  assert 'log_steps' not in str(info.value)
  before = stored.read_config(begun_runs.begun(1))
  assert before == begun_runs.run_config(1)


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
  config = tiny.stage2_config(tokenizer=str(begun_runs.begun(2)))
  with pytest.raises(ValueError, match='holds an RQ-Transformer'):
    run.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_tokenizer_with_other_codes_is_refused_unrestored(tmp_path):
  path = begun_runs.exported(tmp_path / 'tokenizer')
  shutil.rmtree(tmp_path / 'tokenizer' / 'checkpoints')
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
  shutil.copytree(begun_runs.begun(1), folder)
  config = tiny.changed(
      begun_runs.run_config(1), init_from=str(tmp_path / 'none')
  )
  with pytest.raises(AssertionError, match='Training began'):
    run.train(config, folder)
