"""A CLIP is converted from the folder that Hugging Face publishes."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from rq_jax.conversion.torch_format import writing
from rq_jax.evaluation import clip
from rq_jax.jobs.convert import from_clip
from tests import clip_recorded


@pytest.fixture
def source(tmp_path):
  """A folder as Hugging Face publishes it, with safetensors."""
  folder = tmp_path / 'src'
  folder.mkdir()
  weights = clip_recorded.weights('tiny')
  safetensors.save_file(weights, folder / 'model.safetensors')
  config = clip_recorded.meta()['tiny']['config']
  (folder / 'config.json').write_text(json.dumps(config))
  shutil.copy(clip_recorded.FOLDER / 'tokenizer.json', folder)
  return folder


def convert(source, tmp_path):
  from_clip.convert(str(source), str(tmp_path / 'dst'))
  return clip.restore(tmp_path / 'dst')


def assert_recorded(restored):
  _, expected = clip_recorded.model('tiny')
  jax.tree.map(np.testing.assert_array_equal, restored.variables, expected)
  assert restored.model == clip_recorded.model('tiny')[0]


def test_the_network_is_the_one_in_the_folder(source, tmp_path, capsys):
  restored = convert(source, tmp_path)
  assert_recorded(restored)
  names = [s['file'] for s in restored.described.sources]
  assert names == ['model.safetensors', 'tokenizer.json']
  copied = (tmp_path / 'dst' / 'tokenizer.json').read_bytes()
  assert copied == (source / 'tokenizer.json').read_bytes()
  assert f'CLIP {restored.fingerprint}' in capsys.readouterr().out


def test_a_file_of_torch_save_with_lists_of_positions(source, tmp_path, caplog):
  (source / 'model.safetensors').unlink()
  (source / 'tokenizer.json').unlink()
  positions = {
      'text_model.embeddings.position_ids': np.arange(12)[None],
      'vision_model.embeddings.position_ids': np.arange(17)[None],
  }
  file = source / 'pytorch_model.bin'
  writing.write(file, clip_recorded.weights('tiny') | positions)
  restored = convert(file, tmp_path)
  assert_recorded(restored)
  assert restored.tokenizer_file is None
  assert 'can embed images, but no texts' in caplog.text


def test_weights_in_half_precision_are_widened(source, tmp_path):
  half = {
      name: array.astype(np.float16)
      for name, array in clip_recorded.weights('tiny').items()
  }
  safetensors.save_file(half, source / 'model.safetensors')
  restored = convert(source, tmp_path)
  kernel = restored.variables['params']['image_projection']['kernel']
  assert kernel.dtype == np.float32
  np.testing.assert_array_equal(kernel, half['visual_projection.weight'].T)


def test_weights_of_other_sizes_are_refused(source, tmp_path):
  config = json.loads((source / 'config.json').read_text())
  config['vision_config']['num_hidden_layers'] = 3
  (source / 'config.json').write_text(json.dumps(config))
  missing = 'missing: .*vision_model.encoder.layers.2.self_attn.q_proj.weight'
  with pytest.raises(ValueError, match=missing):
    convert(source, tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_a_file_of_openai_is_refused(source, tmp_path):
  (source / 'config.json').rename(tmp_path / 'config.json')
  file = source / 'model.safetensors'
  file = file.rename(source / 'ViT-B-32.pt')
  with pytest.raises(ValueError, match='ViT-B-32.pt, are TorchScript'):
    convert(file, tmp_path)


def test_a_folder_without_weights_is_refused(source, tmp_path):
  (source / 'model.safetensors').unlink()
  with pytest.raises(ValueError, match='holds neither model.safetensors nor'):
    convert(source, tmp_path)


def test_weights_in_several_files_are_refused(source, tmp_path):
  file = source / 'model.safetensors'
  file.rename(source / 'model.safetensors.index.json')
  with pytest.raises(ValueError, match='in several files, as model.safetensor'):
    convert(source, tmp_path)


def test_a_missing_file_is_refused(source, tmp_path):
  with pytest.raises(ValueError, match='other.bin does not exist'):
    convert(source / 'other.bin', tmp_path)
