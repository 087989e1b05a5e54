"""Writes checkpoints of tiny models as the official code saves them."""

import copy
import functools

import jax
import numpy as np
import yaml

from rq_jax.conversion import mapping
from rq_jax.conversion import official_model
from rq_jax.conversion import tables
from rq_jax.conversion.configs import reader
from rq_jax.conversion.torch_format import writing
from tests import official


def raw(name):
  """The config of a recorded model, as in its file."""
  text = (official.FIXTURES / name / 'config.yaml').read_text()
  return yaml.safe_load(text)


def partner_raw():
  """The config of an RQ-VAE whose codes recorded RQ-Transformers predict."""
  config = copy.deepcopy(raw('rqvae_shared'))
  config['arch']['ddconfig'] |= dict(resolution=16, ch_mult=[1, 1, 1])
  config['arch']['ddconfig']['attn_resolutions'] = []
  config['arch']['hparams'] |= dict(
      latent_shape=[4, 4, 32], code_shape=[4, 4, 4]
  )
  return config


@functools.cache
def partner():
  """Random weights for `partner_raw`, as a state dict."""
  return drawn(partner_raw())


def drawn(raw):
  """Random weights for the model of an official config, as a state dict."""
  config = reader.read(raw, 'config.yaml').config
  abstract, rows = official_model.model_table(config.model)
  rng = np.random.default_rng(0)
  ours = {
      name: rng.normal(0, 0.1, leaf.shape).astype('f4')
      for name, leaf in mapping.flatten(abstract).items()
  }
  state = dict(mapping.to_theirs(rows, ours.__getitem__))
  return {n: state[n] for n in sorted(state, key=tables.official_order)}


def write(folder, config, state, *, name='model.pt', **others):
  """Writes a `.pt` file with its `config.yaml`; returns its path."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'config.yaml').write_text(yaml.safe_dump(config))
  writing.write(folder / name, {'state_dict': state, **others})
  return folder / name


def write_both(folder, **others):
  """Writes both stages of a class-conditional model, laid out as released."""
  name = 'rqtransformer_unshared'
  write(folder / 'stage1', partner_raw(), partner())
  write(folder / 'stage2', raw(name), official.weights(name), **others)
  return folder


def one_changed(tree):
  """The tree with one element of its largest array changed."""
  leaves, structure = jax.tree.flatten(tree)
  i = int(np.argmax([leaf.size for leaf in leaves]))
  changed = np.array(leaves[i])
  changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(np.inf))
  return jax.tree.unflatten(structure, [*leaves[:i], changed, *leaves[i + 1 :]])
