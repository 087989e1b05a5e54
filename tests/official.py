"""Reads recordings of the official model, in its own names and layouts.

`RQ_JAX_FIXTURES` may name a folder that holds more recordings than the
repository does; what it holds goes first. Tests of recordings that are in
neither are skipped.
"""

import functools
import json
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import codebook
from tests import recipe

FIXTURES = pathlib.Path(__file__).parent / 'fixtures'


@functools.cache
def recording(name):
  """What was recorded of a model: arrays by name."""
  return _load(f'{name}/io.npz')


@functools.cache
def weights(name):
  """The state dict of a recorded model, or the part of it that tests use."""
  return _load(f'{name}/model.npz')


@functools.cache
def drawn_weights(name):
  """The state dict of a model whose weights were drawn for its recording."""
  meta = json.loads((FIXTURES / name / 'meta.json').read_text())
  return recipe.weights(meta['recipe_seed'], meta['recipe_shapes'])


def _load(file):
  for folder in (os.environ.get('RQ_JAX_FIXTURES'), FIXTURES):
    if folder and (path := pathlib.Path(folder, file)).exists():
      with np.load(path) as arrays:
        return dict(arrays)
  pytest.skip(f'{file} is only tested where RQ_JAX_FIXTURES holds it')


def images(array):
  """NCHW to NHWC."""
  return np.transpose(array, (0, 2, 3, 1))


def conv(state, name):
  kernel = np.transpose(state[f'{name}.weight'], (2, 3, 1, 0))
  return {'conv': {'kernel': kernel, 'bias': state[f'{name}.bias']}}


def norm(state, name):
  return {'scale': state[f'{name}.weight'], 'bias': state[f'{name}.bias']}


def dense(state, name):
  params = {'kernel': state[f'{name}.weight'].T}
  if f'{name}.bias' in state:
    params['bias'] = state[f'{name}.bias']
  return params


def rqvae_variables(state, depth):
  """Variables of `RQVAE`, from a state dict with `depth` listed codebooks."""
  params = {
      'encoder': _network(state, 'encoder', 'down'),
      'to_features': conv(state, 'quant_conv'),
      'from_features': conv(state, 'post_quant_conv'),
      'decoder': _network(state, 'decoder', 'up'),
      'to_rgb': conv(state, 'decoder.conv_out'),
  }
  return {'params': params, 'codebook': {'quantizer': codebooks(state, depth)}}


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
  """A codebook, without the padding row that upstream keeps at its end."""
  return codebook.Codebook(
      embedding=jnp.asarray(state[f'{prefix}{separator}weight'][:-1]),
      count=jnp.asarray(state[f'{prefix}{separator}cluster_size_ema']),
      total=jnp.asarray(state[f'{prefix}{separator}embed_ema']),
  )


def _network(state, root, levels):
  params = {'conv_in': conv(state, f'{root}.conv_in')}
  params['norm_out'] = {'norm': norm(state, f'{root}.norm_out')}
  if root == 'encoder':
    params['conv_out'] = conv(state, 'encoder.conv_out')
  params['mid_block_0'] = _res_block(state, f'{root}.mid.block_1')
  params['mid_attention'] = _attention(state, f'{root}.mid.attn_1')
  params['mid_block_1'] = _res_block(state, f'{root}.mid.block_2')
  for name in state:
    parts = name.split('.')
    if parts[:2] != [root, levels]:
      continue
    level, kind = parts[2:4]
    prefix = '.'.join(parts[:5])
    if kind == 'block':
      params[f'level_{level}_block_{parts[4]}'] = _res_block(state, prefix)
    elif kind == 'attn':
      params[f'level_{level}_attention_{parts[4]}'] = _attention(state, prefix)
    else:
      params[f'level_{level}_{kind}'] = {'conv': conv(state, prefix)}
  return params


def _res_block(state, prefix):
  params = {
      'norm1': {'norm': norm(state, f'{prefix}.norm1')},
      'conv1': conv(state, f'{prefix}.conv1'),
      'norm2': {'norm': norm(state, f'{prefix}.norm2')},
      'conv2': conv(state, f'{prefix}.conv2'),
  }
  if f'{prefix}.nin_shortcut.weight' in state:
    params['shortcut'] = conv(state, f'{prefix}.nin_shortcut')
  return params


def _attention(state, prefix):
  return {
      'norm': {'norm': norm(state, f'{prefix}.norm')},
      'query': conv(state, f'{prefix}.q'),
      'key': conv(state, f'{prefix}.k'),
      'value': conv(state, f'{prefix}.v'),
      'out': conv(state, f'{prefix}.proj_out'),
  }


def lpips_params(state):
  """Parameters of `LPIPS`, from the state dicts of VGG16 and of the heads."""
  indices = {int(n.split('.')[1]) for n in state if n.startswith('features.')}
  params = {
      f'conv_{i}': conv(state, f'features.{index}')['conv']
      for i, index in enumerate(sorted(indices))
  }
  for i in range(5):
    params[f'weight_{i}'] = np.ravel(state[f'lin{i}.model.1.weight'])
  return params


def rqtransformer_params(state, heads, sizes):
  """Parameters of `RQTransformer`, from a state dict."""
  params = {
      'condition_embedding': state['cond_emb.weight'],
      'condition_position': state['pos_emb_cond'][0],
      'spatial_position': state['pos_emb_hw'][0],
      'depth_position': state['pos_emb_d'][0],
      'classifier': classifier(state),
  }
  for ours, theirs in (
      ('spatial_projection', 'input_mlp'),
      ('depth_projection', 'head_mlp'),
  ):
    if f'{theirs}.weight' in state:
      params[ours] = dense(state, theirs)
  if 'tok_emb.offsets' in state:
    ends = np.cumsum(sizes)
    for d, (end, size) in enumerate(zip(ends, sizes, strict=True)):
      rows = state['tok_emb.weight'][end - size : end]
      params[f'code_embedding_{d}'] = rows
  elif 'tok_emb.weight' in state:
    params['code_embedding'] = state['tok_emb.weight']
  if 'cond_classifier.linear.weight' in state:
    params['condition_norm'] = norm(state, 'cond_classifier.layer_norm')
    params['condition_classifier'] = dense(state, 'cond_classifier.linear')
  for ours, theirs in (('spatial_stack', 'body'), ('depth_stack', 'head')):
    prefix = f'{theirs}_transformer.blocks'
    layers = {int(n.split('.')[2]) for n in state if n.startswith(prefix)}
    if layers:
      blocks = [_block(state, f'{prefix}.{i}', heads) for i in sorted(layers)]
      params[ours] = {'layers': _stack(blocks)}
  return params


def classifier(state):
  linear = 'classifier.linear'
  shared = state[f'{linear}.weight'].ndim == 2
  kernel = state[f'{linear}.weight']
  return {
      'norm': norm(state, 'classifier.layer_norm'),
      'kernel': kernel.T if shared else kernel,
      'bias': np.squeeze(state[f'{linear}.bias']),
  }


def _block(state, prefix, heads):
  attention = f'{prefix}.attn'
  projections = [
      dense(state, f'{attention}.{name}') for name in ('query', 'key', 'value')
  ]
  width = projections[0]['kernel'].shape[0]
  query_key_value = {
      name: np.stack(
          [
              p[name].reshape(*p[name].shape[:-1], heads, width // heads)
              for p in projections
          ],
          axis=-3,
      )
      for name in projections[0]
  }
  out = dense(state, f'{attention}.proj')
  out['kernel'] = out['kernel'].reshape(heads, width // heads, width)
  return {
      'norm1': norm(state, f'{prefix}.ln1'),
      'norm2': norm(state, f'{prefix}.ln2'),
      'attention': {'query_key_value': query_key_value, 'out': out},
      'mlp_in': dense(state, f'{prefix}.mlp.0'),
      'mlp_out': dense(state, f'{prefix}.mlp.2'),
  }


def _stack(blocks):
  if isinstance(blocks[0], dict):
    return {name: _stack([b[name] for b in blocks]) for name in blocks[0]}
  return np.stack(blocks)
