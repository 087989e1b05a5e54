"""Checkpoints are exported without losing a bit, or refused."""

import functools
import importlib.util
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from rq_jax import config as config_lib
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from rq_jax.conversion import mapping
from rq_jax.conversion import official_model
from rq_jax.conversion.configs import reader
from rq_jax.conversion.configs import writer
from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import writing
from rq_jax.jobs.convert import from_official
from rq_jax.jobs.convert import to_official
from rq_jax.sampling import Sampler
from rq_jax.tokenizer import Tokenizer
from tests import official
from tests import tiny
from tests.conversion import checkpoints

pytestmark = pytest.mark.slow

CLASS = 'rqtransformer_unshared'


def _read(path, part='state_dict'):
  with reading.TorchFile(path) as file:
    return {name: file.read(t) for name, t in file.tree[part].items()}


def _assert_same(actual, expected):
  assert list(actual) == list(expected)
  for name, array in expected.items():
    np.testing.assert_array_equal(actual[name], array, name, strict=True)


def _discriminator(norm):
  file = {'batch': 'model.npz', 'act': 'model_actnorm.npz'}[norm]
  with np.load(official.FIXTURES / 'discriminator' / file) as arrays:
    return dict(arrays)


def test_names_of_classes_come_along_there_and_back(converted, tmp_path):
  named = tmp_path / 'named'
  shutil.copytree(converted, named)
  class_names.write(named, ['ant', 'bee'])
  class_names.write(named / 'tokenizer', ['x', 'y'])
  to_official.to_official(str(named), str(tmp_path / 'theirs'))
  assert class_names.read(tmp_path / 'theirs' / 'stage2') == ('ant', 'bee')
  from_official.from_official(str(tmp_path / 'theirs'), str(tmp_path / 'ours'))
  assert class_names.read(tmp_path / 'ours') == ('ant', 'bee')
  assert class_names.read(tmp_path / 'ours' / 'tokenizer') == ('x', 'y')


@pytest.mark.parametrize('layout', ['official', 'safetensors'])
def test_there_and_back_nothing_changes(layout, archive, converted, tmp_path):
  to_official.to_official(str(converted), str(tmp_path / 'back'), layout=layout)
  for stage in ('stage1', 'stage2'):
    folder = tmp_path / 'back' / stage
    expected = _read(archive / stage / 'model.pt')
    if layout == 'official':
      assert sorted(p.name for p in folder.iterdir()) == [
          'config.yaml',
          'model.pt',
      ]
      _assert_same(_read(folder / 'model.pt'), expected)
    else:
      numpy_files = pytest.importorskip('safetensors.numpy')
      arrays = numpy_files.load_file(folder / 'model.safetensors')
      _assert_same({name: arrays[name] for name in expected}, expected)
      assert len(arrays) == len(expected)
    before, after = (
        reader.read(
            yaml.safe_load((path / 'config.yaml').read_text()), 'config.yaml'
        ).config
        for path in (archive / stage, folder)
    )
    assert after.model == before.model
  if layout == 'safetensors':
    from_official.from_official(str(tmp_path / 'back'), str(tmp_path / 'again'))
    _assert_same_models(tmp_path / 'again', converted)


def _assert_same_models(path, expected):
  """Compares the fingerprints of two generators and their RQ-VAEs."""
  ours, theirs = (
      Sampler.restore(str(p), verbose=False) for p in (path, expected)
  )
  assert ours.tokenizer.fingerprint == theirs.tokenizer.fingerprint
  assert inference_copy.fingerprint(
      ours.prior_variables
  ) == inference_copy.fingerprint(theirs.prior_variables)


def test_one_wrong_bit_on_the_way_back_is_found(
    converted, tmp_path, monkeypatch
):
  write = writing.write
  monkeypatch.setattr(
      writing,
      'write',
      lambda path, tree: write(path, checkpoints.one_changed(tree)),
  )
  with pytest.raises(ValueError, match='differs from the array that was to'):
    to_official.to_official(
        str(converted / 'tokenizer'), str(tmp_path / 'back')
    )
  assert list(tmp_path.iterdir()) == []


def test_one_wrong_bit_in_safetensors_is_found(
    converted, tmp_path, monkeypatch
):
  numpy_files = pytest.importorskip('safetensors.numpy')
  save = numpy_files.save_file
  monkeypatch.setattr(
      numpy_files,
      'save_file',
      lambda tree, path: save(checkpoints.one_changed(tree), path),
  )
  with pytest.raises(ValueError, match='differs from the array that was to'):
    to_official.to_official(
        str(converted / 'tokenizer'),
        str(tmp_path / 'back'),
        layout='safetensors',
    )
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('norm', ['batch', 'act'])
def test_a_discriminator_comes_along_and_goes_back(norm, tmp_path):
  config = checkpoints.raw('rqvae_shared')
  config['gan']['disc']['arch']['use_actnorm'] = norm == 'act'
  state = _discriminator(norm)
  src = checkpoints.write(
      tmp_path / 'src',
      config,
      official.weights('rqvae_shared'),
      name='epoch5_model.pt',
      epoch=5,
      discriminator=state,
      optimizer={'state': {}, 'param_groups': []},
  )
  from_official.from_official(str(src), str(tmp_path / 'dst'))
  assert stored.has_collection(tmp_path / 'dst', 'disc_params')
  to_official.to_official(str(tmp_path / 'dst'), str(tmp_path / 'back'))
  back = tmp_path / 'back' / 'stage1' / 'model.pt'
  _assert_same(_read(back, 'discriminator'), state)
  _assert_same(_read(back), official.weights('rqvae_shared'))


def _drawn(config):
  """Random variables for the model of an experiment; compiles nothing."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype),
      official_model.model_table(config.model)[0],
  )


def _generator(folder, prior, tokenizer):
  """Writes an RQ-Transformer and its tokenizer, with random weights."""
  inference_copy.export(folder, prior, _drawn(prior))
  inference_copy.export(folder / 'tokenizer', tokenizer, _drawn(tokenizer))
  return folder


def test_one_error_lists_why_both_stages_cannot_go_back(tmp_path):
  texts = dict(num_classes=0, text_length=4, text_vocab_size=9)
  _generator(
      tmp_path / 'src',
      tiny.stage2_config(model=texts),
      tiny.stage1_config(model=dict(res_blocks=(0, 1))),
  )
  with pytest.raises(ValueError) as caught:
    to_official.to_official(str(tmp_path / 'src'), str(tmp_path / 'dst'))
  assert str(caught.value) == (
      '--to=official cannot export this model. The RQ-VAE has'
      ' config.model.norm_groups=4, but the official code has 32 groups in'
      ' every GroupNorm. The RQ-VAE has config.model.res_blocks=(0, 1), but the'
      ' official code has the same number of residual blocks in every level.'
      ' The RQ-Transformer has config.model.null_class=True and'
      ' config.model.text_length=4, but the official code has no null class in'
      ' text models. Use --to=safetensors, which exports any model.'
  )
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def _tiny_texts():
  texts = dict(num_classes=0, text_length=4, text_vocab_size=9)
  return tiny.stage2_config(model=texts), tiny.stage1_config()


def _digits():
  return tuple(
      config_lib.load(f'configs/digits/{name}.py', with_data=False)
      for name in ('rqtransformer', 'rqvae')
  )


@pytest.mark.parametrize('experiments', [_digits, _tiny_texts])
def test_safetensors_take_what_the_official_code_cannot_build(
    experiments, tmp_path, capsys
):
  numpy_files = pytest.importorskip('safetensors.numpy')
  prior, tokenizer = experiments()
  src = _generator(tmp_path / 'src', prior, tokenizer)
  dst = tmp_path / 'dst'
  to_official.to_official(str(src), str(dst), layout='safetensors')
  for config, name in ((tokenizer, 'stage1'), (prior, 'stage2')):
    arrays = numpy_files.load_file(dst / name / 'model.safetensors')
    abstract, rows = official_model.model_table(config.model)
    shapes = {name: array.shape for name, array in arrays.items()}
    mapping.check(rows, mapping.shapes(abstract), shapes, name)
    expected = mapping.flatten(_drawn(config))
    dtypes = {name: leaf.dtype for name, leaf in expected.items()}
    found = dict(mapping.to_ours(rows, arrays.__getitem__, dtypes))
    assert set(found) == set(expected)
    for path, array in expected.items():
      np.testing.assert_array_equal(found[path], array, path, strict=True)
    described = {file.name for file in (dst / name).iterdir()}
    described.remove('model.safetensors')
    if writer.obstacles(config.model):
      assert described == {'config.json'}
      assert stored.read_config(dst / name).model == config.model
    else:
      assert described == {'config.yaml'}
  if experiments is _tiny_texts:  # Both stages have a config.json.
    from_official.from_official(str(dst), str(tmp_path / 'again'))
    _assert_same_models(tmp_path / 'again', src)
  assert writer.obstacles(tokenizer.model)
  assert (
      'The official code cannot build this RQ-VAE: config.json describes it in'
      ' place of config.yaml.'
  ) in capsys.readouterr().out


def test_a_run_gives_averaged_or_plain_parameters_of_a_step(
    converted, tmp_path
):
  path = converted / 'tokenizer'
  tokenizer = Tokenizer.restore(str(path), verbose=False)
  params = tokenizer.variables['params']
  run = tmp_path / 'run'
  run.mkdir()
  (run / 'config.json').write_text((path / 'config.json').read_text())
  with runs.Checkpoints(run, keep=2) as saved:
    for step in (1, 2):
      state = tokenizer.variables | {
          'params': jax.tree.map(functools.partial(jnp.add, step), params),
          'ema_params': jax.tree.map(functools.partial(jnp.add, -step), params),
      }
      saved.save(step, state, {})
  bias = params['encoder']['conv_in']['conv']['bias']
  for options, expected in (
      ({}, bias - 2),
      ({'ema': False}, bias + 2),
      ({'step': 1}, bias - 1),
  ):
    dst = tmp_path / f'{len(list(tmp_path.iterdir()))}'
    to_official.to_official(str(run), str(dst), **options)
    state = _read(dst / 'stage1' / 'model.pt')
    np.testing.assert_array_equal(state['encoder.conv_in.bias'], expected)


def test_safetensors_without_its_package_are_refused_before_anything(
    converted, tmp_path, monkeypatch
):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match='pip install safetensors'):
    to_official.to_official(
        str(converted), str(tmp_path / 'back'), layout='safetensors'
    )
  assert list(tmp_path.iterdir()) == []
