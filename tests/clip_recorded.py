"""Recordings of CLIP, and its random weights."""

import functools
import json
import pathlib

import jax
import numpy as np

from rq_jax.conversion import clip_config
from rq_jax.conversion import clip_tables
from rq_jax.conversion import mapping
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import clip
from tests import clip_inputs

FOLDER = pathlib.Path(__file__).parent / 'fixtures' / 'clip'


@functools.cache
def meta():
  return json.loads((FOLDER / 'meta.json').read_text())


@functools.cache
def arrays():
  with np.load(FOLDER / 'io.npz') as recorded:
    return dict(recorded)


@functools.cache
def weights(name):
  """The state dict of a recorded model."""
  return clip_inputs.weights(meta()[name]['shapes'])


@functools.cache
def model(name):
  """The module of a recorded model, and its variables."""
  fields = clip_config.fields(meta()[name]['config'], 'the recording')
  module = clip.CLIP(**fields)
  abstract = partitioning.unbox(
      build.network_variables(module, *clip.inputs(module))
  )
  rows = clip_tables.clip(
      mapping.shapes(abstract),
      image_heads=module.image_heads,
      text_heads=module.text_heads,
  )
  state = weights(name)
  found = {n: array.shape for n, array in state.items()}
  mapping.check(rows, mapping.shapes(abstract), found, 'the recording')
  dtypes = {n: leaf.dtype for n, leaf in mapping.flatten(abstract).items()}
  leaves = dict(mapping.to_ours(rows, state.__getitem__, dtypes))
  return module, jax.tree.map(np.asarray, mapping.unflatten(abstract, leaves))
