"""`sample` with texts, with guidance, and with programs kept on disk."""

import hashlib
import json

import jax
import numpy as np
import pytest
import tokenizers

from rq_jax import __main__ as main_lib
from rq_jax import compilation
from rq_jax.sampling import Sampling
from tests.jobs import generators

_WORDS = ['[UNK]', 'a', 'cat', 'dog', '[PAD]']
_IDS = [[1, 2, 4], [3, 4, 4]]


def save_words(path, words):
  """A text tokenizer with a few words."""
  vocab = {word: i for i, word in enumerate(words)}
  model = tokenizers.models.WordLevel(vocab, unk_token='[UNK]')
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  tokenizer.save(str(path))
  return path


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])


def main(folder, *argv):
  return main_lib.main(
      [
          'sample',
          f'--checkpoint={folder / "model"}',
          f'--out={folder / "out"}',
          '--format=npz',
          '--chunk_size=2',
          '--seed=8',
          *argv,
      ]
  )


def written(folder):
  with np.load(folder / 'out' / 'samples.npz') as arrays:
    return arrays['arr_0']


@pytest.mark.slow
def test_prompts_are_drawn_with_the_text_tokenizer_that_is_named(
    tmp_path, capsys
):
  generators.export(tmp_path / 'model', **generators.TEXTS)
  (tmp_path / 'prompts.txt').write_text('a cat\ndog\n')
  words = save_words(tmp_path / 'words.json', _WORDS)
  argv = [f'--prompts={tmp_path / "prompts.txt"}', f'--text_tokenizer={words}']
  assert main(tmp_path, *argv) == 0
  made = generators.sampler(**generators.TEXTS)
  np.testing.assert_array_equal(
      written(tmp_path), made(jax.random.key(8), tokens=_IDS)
  )
  manifest = json.loads((tmp_path / 'out' / 'job.json').read_text())
  found = hashlib.sha256(words.read_bytes()).hexdigest()
  assert manifest['model']['text_tokenizer'] == found
  # The file may have moved, but its contents must be the same.
  words.rename(tmp_path / 'moved.json')
  argv[1] = f'--text_tokenizer={tmp_path / "moved.json"}'
  assert main(tmp_path, *argv) == 0
  save_words(tmp_path / 'moved.json', _WORDS[::-1])
  capsys.readouterr()
  assert main(tmp_path, *argv) == 1
  error = capsys.readouterr().err
  assert f'was begun with model.text_tokenizer="{found[:20]}' in error


def test_tokens_need_no_text_tokenizer(tmp_path):
  generators.export(tmp_path / 'model', **generators.TEXTS)
  np.save(tmp_path / 'tokens.npy', np.array(_IDS))
  assert main(tmp_path, f'--tokens={tmp_path / "tokens.npy"}') == 0
  manifest = json.loads((tmp_path / 'out' / 'job.json').read_text())
  assert set(manifest['model']) == {'prior', 'tokenizer'}


@pytest.mark.slow
def test_guidance_is_that_of_the_sampler(tmp_path):
  generators.export(tmp_path / 'model')
  argv = ['--labels=4,2', '--num_images=2']
  guided = ['--guidance=3', '--guidance=1.5', '--guidance_schedule=linear']
  assert main(tmp_path, *argv, *guided) == 0
  how = Sampling(guidance=(3.0, 1.5), guidance_schedule='linear')
  made, key = generators.sampler(), jax.random.key(8)
  images = written(tmp_path)
  np.testing.assert_array_equal(images, made(key, labels=[4, 2], sampling=how))
  assert np.any(images != made(key, labels=[4, 2]))


def test_compiled_programs_are_kept_before_anything_is_compiled(
    tmp_path, monkeypatch, capsys
):
  folder = tmp_path / 'programs'
  folder.mkdir()
  folder.chmod(0o777)
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', None)
  try:
    monkeypatch.setenv('RQ_JAX_COMPILATION_CACHE', str(folder))
    assert main(tmp_path) == 1
    assert f'Run chmod 700 {folder}' in capsys.readouterr().err
    assert jax.config.jax_compilation_cache_dir is None
  finally:
    jax.config.update('jax_compilation_cache_dir', before)
  kept = []
  monkeypatch.setattr(compilation, 'keep', lambda: kept.append(None))
  assert main(tmp_path) == 1  # There is no such checkpoint.
  assert kept == [None]
