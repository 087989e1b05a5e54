"""Restores a tokenizer from a folder, with all options."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import config as config_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.tokenizer import Tokenizer
from tests import tokenizers


def _leaves(variables):
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def test_a_copied_folder_is_the_same_tokenizer(tmp_path, capsys):
  tokenizer = tokenizers.restored()
  moved = tmp_path / 'elsewhere'
  shutil.copytree(tokenizers.folder(), moved)
  other = Tokenizer.restore(str(moved))
  assert capsys.readouterr().out == (f'Tokenizer: parameters from {moved}.\n')
  assert other.fingerprint == tokenizer.fingerprint
  assert other.fingerprint == inference_copy.fingerprint(tokenizers.variables())
  inference_copy.check_fingerprint(moved, other.fingerprint)
  assert other.model == tokenizer.model
  expected = _leaves(tokenizers.variables())
  for name, leaf in _leaves(other.variables).items():
    np.testing.assert_array_equal(leaf, expected[name])


def test_restoring_says_nothing_if_asked_not_to(capsys):
  Tokenizer.restore(tokenizers.folder(), verbose=False)
  assert not capsys.readouterr().out


def test_a_tokenizer_of_a_run_takes_the_step_and_parameters_asked_for(tmp_path):
  stored.write_config(tmp_path, tokenizers.config())
  variables = tokenizers.variables()
  params, codebook = variables['params'], variables['codebook']
  with runs.Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (1, 2):
      state = {
          'params': jax.tree.map(lambda p, s=step: p + s, params),
          'codebook': codebook,
          'ema_params': jax.tree.map(lambda p, s=step: p - s, params),
      }
      checkpoints.save(step, state, {})

  def offset(**options):
    restored = Tokenizer.restore(tmp_path, verbose=False, **options).variables
    bias = restored['params']['to_rgb']['conv']['bias']
    return np.round(np.mean(bias - params['to_rgb']['conv']['bias']), 3)

  assert offset() == -2
  assert offset(ema=False) == 2
  assert offset(step=1) == -1
  assert offset(step=1, ema=False) == 1
  with pytest.raises(ValueError, match='no checkpoint of step 3'):
    offset(step=3)


def test_a_tokenizer_in_bfloat16_keeps_its_codebook():
  tokenizer = tokenizers.restored()
  half = Tokenizer.restore(tokenizers.folder(), dtype='bfloat16', verbose=False)
  assert half.model.dtype == 'bfloat16'
  dtypes = {leaf.dtype for leaf in jax.tree.leaves(half.variables['params'])}
  assert dtypes == {jnp.dtype('bfloat16')}
  np.testing.assert_array_equal(half.codebooks[0], tokenizer.codebooks[0])
  features = half.features(tokenizers.images())
  assert features.dtype == jnp.float32
  # bfloat16 has 8 significant bits; the error grows over ten layers.
  expected = np.asarray(tokenizer.features(tokenizers.images()))
  error = np.abs(features - expected).max() / np.abs(expected).max()
  assert 0 < error < 0.05


def test_a_tokenizer_is_spread_over_a_mesh():
  tokenizer = tokenizers.restored()
  mesh = partitioning.make_mesh(dict(fsdp=2, model=2, data=2))
  spread = Tokenizer.restore(tokenizers.folder(), mesh=mesh, verbose=False)
  abstract = build.rqvae_variables(spread.model)
  expected = _leaves(partitioning.state_sharding(abstract, mesh))
  for name, leaf in _leaves(spread.variables).items():
    assert leaf.sharding == expected[name]
  kernel = spread.variables['params']['encoder']
  assert any(not x.is_fully_replicated for x in jax.tree.leaves(kernel))
  assert spread.fingerprint == tokenizer.fingerprint
  np.testing.assert_array_equal(
      spread.encode(tokenizers.images()), tokenizer.encode(tokenizers.images())
  )


def test_a_folder_of_a_prior_is_no_tokenizer(tmp_path):
  prior = config_lib.check(
      dict(stage=2, tokenizer='rqvae', train=dict(steps=1))
  )
  stored.write_config(tmp_path, prior)
  with pytest.raises(ValueError, match='holds an RQ-Transformer'):
    Tokenizer.restore(tmp_path)
  stored.write_config(tmp_path, tokenizers.config())
  with pytest.raises(ValueError, match='no complete checkpoint yet'):
    Tokenizer.restore(tmp_path)
