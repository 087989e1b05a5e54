"""Reads recordings of the official model, in its own names and layouts.

`RQ_JAX_FIXTURES` may name a folder with more recordings than the repository
has. Recordings in that folder come first. If a recording is in neither place,
its tests are skipped.
"""

import functools
import json
import os
import pathlib

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from rq_jax.conversion import inception_tables
from rq_jax.conversion import mapping
from rq_jax.conversion import official_model
from rq_jax.conversion import tables
from rq_jax.conversion.configs import reader
from rq_jax.conversion.torch_format import reading
from rq_jax.models import build
from rq_jax.models import codebook
from rq_jax.models import inception
from tests import recipe

FIXTURES = pathlib.Path(__file__).parent / 'fixtures'
_MORE = os.environ.get('RQ_JAX_FIXTURES')
# Models for which the repository holds only codebooks or a classifier.
_PARTS = ('rqvae_aux', 'rqvae_unshared', 'rqtransformer_unshared_vocabs')
# All recorded models, here or not; RQ-Transformers by the end of their name.
RQVAES = ('rqvae_shared', 'rqvae_unshared', 'rqvae_unshared_eq', 'rqvae_aux')
RQTRANSFORMERS = (
    'uncond',
    'class',
    'text',
    'unshared',
    'unshared_mlpnb',
    'unshared_vocabs',
    'mixed',
    'mixed2',
    'd1',
)
FOLDERS = (*([pathlib.Path(_MORE)] if _MORE else []), FIXTURES)


class _Recording(dict):
  """Arrays by name; a test that needs a missing one is skipped."""

  def __init__(self, file):
    super().__init__(_load(file))
    self._file = file

  def __missing__(self, name):
    _skip(f'{name} of {self._file}')


@functools.cache
def recording(name):
  """The recorded arrays of a model, by name."""
  return _Recording(f'{name}/io.npz')


@functools.cache
def weights(name, part='state_dict', *, whole=False):
  """The state dict of a recorded model, or the part of it that tests use."""
  for folder in FOLDERS:
    if (path := folder / name / 'model.pt').exists():
      with reading.TorchFile(path) as file:
        tensors = file.tree[part]
        return {n: file.read(tensor) for n, tensor in tensors.items()}
    has_part = part != 'state_dict_ema' and not (whole and name in _PARTS)
    if has_part and (folder / name / 'model.npz').exists():
      return _load(f'{name}/model.npz')
  return _skip(f'{name}/model.pt')


@functools.cache
def config(name):
  """The experiment that the `config.yaml` of a recorded model describes."""
  for folder in FOLDERS:
    if (path := folder / name / 'config.yaml').exists():
      return reader.read(yaml.safe_load(path.read_text()), name).config
  return _skip(f'{name}/config.yaml')


@functools.cache
def drawn_weights(name):
  """The state dict of a model that was recorded with random weights."""
  meta = json.loads((FIXTURES / name / 'meta.json').read_text())
  return recipe.weights(meta['recipe_seed'], meta['recipe_shapes'])


def _load(file):
  for folder in FOLDERS:
    if (path := folder / file).exists():
      with np.load(path) as arrays:
        return dict(arrays)
  return _skip(file)


def _skip(file):
  pytest.skip(f'{file} is only tested where RQ_JAX_FIXTURES holds it')


def images(array):
  """Transposes NCHW to NHWC."""
  return np.transpose(array, (0, 2, 3, 1))


def norm(state, name):
  return {'scale': state[f'{name}.weight'], 'bias': state[f'{name}.bias']}


@functools.cache
def variables(name, part='state_dict'):
  """Variables of a recorded model, converted."""
  return convert(config(name), weights(name, part, whole=True))


def convert(config, state):
  """Variables of the model of an experiment, from its official state dict."""
  return _converted(*official_model.model_table(config.model), state)


def inception_variables(state):
  """Variables of `InceptionV3`, from its published state dict or graph."""
  image = jax.ShapeDtypeStruct((1, 299, 299, 3), np.float32)
  abstract = build.network_variables(inception.InceptionV3(), image)
  rows = inception_tables.rows(mapping.shapes(abstract), state)
  return _converted(abstract, rows, state)


def _converted(abstract, rows, state):
  found = {name: array.shape for name, array in state.items()}
  mapping.check(rows, mapping.shapes(abstract), found, 'the recording')
  flat = mapping.flatten(abstract)
  dtypes = {name: leaf.dtype for name, leaf in flat.items()}
  leaves = dict(mapping.to_ours(rows, state.__getitem__, dtypes))
  return mapping.unflatten(abstract, leaves)


def codebooks(state, depth):
  """The collection of `ResidualQuantizer`, from `depth` listed codebooks."""
  prefixes = [f'quantizer.codebooks.{d}' for d in range(depth)]
  words = [state[f'{prefix}.weight'] for prefix in prefixes]
  shared = all(np.array_equal(w, words[0]) for w in words)
  names = ['shared'] if shared else [f'depth_{d}' for d in range(depth)]
  return {
      name: codebook_of(state, prefix)
      for name, prefix in zip(names, prefixes, strict=False)
  }


def codebook_of(state, prefix, separator='.'):
  """A codebook, without the official padding row at its end."""
  return codebook.Codebook(
      embedding=jnp.asarray(state[f'{prefix}{separator}weight'][:-1]),
      count=jnp.asarray(state[f'{prefix}{separator}cluster_size_ema']),
      total=jnp.asarray(state[f'{prefix}{separator}embed_ema']),
  )


def lpips_params(state):
  """Parameters of `LPIPS`, from the state dicts of VGG16 and of the heads."""
  rows = tables.lpips()
  dtypes = {name: np.dtype('f4') for row in rows for name in row.ours}
  leaves = mapping.to_ours(rows, state.__getitem__, dtypes)
  return flax.traverse_util.unflatten_dict(dict(leaves), sep='/')['params']


def classifier(state):
  linear = 'classifier.linear'
  shared = state[f'{linear}.weight'].ndim == 2
  kernel = state[f'{linear}.weight']
  return {
      'norm': norm(state, 'classifier.layer_norm'),
      'kernel': kernel.T if shared else kernel,
      'bias': np.squeeze(state[f'{linear}.bias']),
  }
