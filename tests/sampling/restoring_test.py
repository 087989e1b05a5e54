"""A sampler is restored from a folder as it was asked for, or refused."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.models import build
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from tests import tiny
from tests.sampling import models

_KEY = jax.random.key(1)
_LABELS = np.array([3, 7, 3, 0, 9, 1, 2, 5])


@pytest.fixture(scope='module')
def codes(workdir):
  sampler = Sampler.restore(str(workdir), verbose=False)
  return np.asarray(sampler.codes(_KEY, labels=_LABELS))


def _params_are(sampler, seed):
  expected = models.run_variables(seed)['params']
  actual = sampler.prior_variables['params']
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_restoring_takes_the_newest_averages_and_says_so(workdir, capsys):
  sampler = Sampler.restore(str(workdir))
  assert capsys.readouterr().out == (
      f'Sampler: averaged parameters of step 1 from {workdir}.\n'
  )
  _params_are(sampler, 3)
  assert sampler.prior == build.rqtransformer(tiny.stage2_config().model)
  assert sampler.prior.dtype == 'float32'
  tokenizer = models.random_tokenizer()
  assert sampler.tokenizer.fingerprint == tokenizer.fingerprint
  assert sampler.sampling == Sampling() and sampler.mesh is None


@pytest.mark.parametrize(
    ('options', 'seed'),
    [(dict(ema=False), 2), (dict(step=0), 1), (dict(step=0, ema=False), 0)],
    ids=str,
)
def test_restoring_takes_what_was_asked_for(workdir, options, seed, capsys):
  _params_are(Sampler.restore(workdir, verbose=False, **options), seed)
  assert not capsys.readouterr().out


def test_a_moved_run_brings_its_tokenizer_along(workdir, codes, tmp_path):
  moved = tmp_path / 'elsewhere'
  shutil.copytree(workdir, moved)
  sampler = Sampler.restore(moved, verbose=False)
  np.testing.assert_array_equal(sampler.codes(_KEY, labels=_LABELS), codes)


def test_the_tokenizer_may_be_another_copy(workdir, codes, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(workdir / 'tokenizer', copy)
  sampler = Sampler.restore(workdir, tokenizer=str(copy), verbose=False)
  np.testing.assert_array_equal(sampler.codes(_KEY, labels=_LABELS), codes)
  # Without its own copy, the given one is trusted.
  alone = tmp_path / 'alone'
  shutil.copytree(workdir, alone, ignore=lambda *_: ['tokenizer'])
  Sampler.restore(alone, tokenizer=copy, verbose=False)
  with pytest.raises(ValueError, match='tokenizer holds no config.json'):
    Sampler.restore(alone)


def test_a_tokenizer_with_other_weights_is_refused(workdir, tmp_path):
  other = models.random_tokenizer(seed=1)
  inference_copy.export(
      tmp_path / 'other', tiny.stage1_config(), other.variables
  )
  with pytest.raises(ValueError) as error:
    Sampler.restore(workdir, tokenizer=tmp_path / 'other')
  assert f'The tokenizer has fingerprint {other.fingerprint}' in str(
      error.value
  )
  assert models.random_tokenizer().fingerprint in str(error.value)


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (
            dict(code_shape=(2, 2, 3)),
            r'config.model.code_shape=\(2, 2, 3\), but the tokenizer has'
            r' \(2, 2, 2\)\. .* or set --config.model.code_shape',
        ),
        (
            dict(codebook_size=16),
            'config.model.codebook_size=16, but the tokenizer has 12',
        ),
        (
            dict(embed_dim=4),
            'config.model.embed_dim=4, but the tokenizer has 64',
        ),
    ],
    ids=str,
)
def test_a_tokenizer_of_other_codes_is_refused(
    workdir, tmp_path, model, message
):
  with pytest.raises(ValueError, match=message):
    build.check_pair(
        tiny.stage2_config(model=model).model,
        models.random_tokenizer().model,
    )
  # A run is refused before its weights are read; it has none here.
  stored.write_config(tmp_path, tiny.stage2_config(model=model))
  with pytest.raises(ValueError, match=message):
    Sampler.restore(tmp_path, tokenizer=workdir / 'tokenizer')


def test_a_folder_of_a_tokenizer_is_no_sampler(workdir):
  with pytest.raises(ValueError, match='holds an RQ-VAE'):
    Sampler.restore(workdir / 'tokenizer')


def test_a_prior_is_all_that_its_experiment_says():
  prior = build.rqtransformer(
      tiny.stage2_config(model=dict(gelu='sigmoid')).model
  )
  assert prior.gelu == 'sigmoid' and prior.width == 16
  assert prior.codebook_size == tiny.WORDS and prior.null_class
  assert (
      build.rqtransformer(tiny.stage2_config().model, 'bfloat16').dtype
      == 'bfloat16'
  )


def test_in_bfloat16_parameters_and_computation_are(workdir, tmp_path):
  half = Sampler.restore(workdir, dtype='bfloat16', verbose=False)
  assert half.prior.dtype == half.tokenizer.model.dtype == 'bfloat16'
  for variables in (half.prior_variables, half.tokenizer.variables):
    dtypes = {p.dtype for p in jax.tree.leaves(variables['params'])}
    assert dtypes == {jnp.dtype('bfloat16')}
  # Another copy of its tokenizer is known, although it is rounded, too.
  shutil.copytree(workdir / 'tokenizer', tmp_path / 'copy')
  other = Sampler.restore(
      workdir, tokenizer=tmp_path / 'copy', dtype='bfloat16', verbose=False
  )
  assert other.tokenizer.fingerprint == half.tokenizer.fingerprint
