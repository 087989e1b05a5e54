"""What a step of stage 2 sends between devices that split its parameters."""

import collections
import functools
import re

import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.training import stage2
from tests import tiny
from tests.training import on_mesh

pytestmark = pytest.mark.slow

_COLLECTIVE = re.compile(
    r' = \(?\w+\[(?P<shape>[\d,]*)\].* (?P<kind>all-gather|all-to-all)\('
    r'.*op_name="(?P<name>[^"]*)"'
)


@functools.cache
def collectives():
  """(kind, shape of the result, name in the model) of each collective."""
  # Two chunks of positions, so the classifier is used in loops.
  task = tiny.stage2_task(tiny.stage2_config()).replace(chunks=2)
  batch = {'image': np.asarray(tiny.images()), 'label': np.arange(tiny.BATCH)}
  state = tiny.initial_state(stage2, task)
  mesh = partitioning.make_mesh(dict(fsdp=8))
  program, _ = on_mesh.compiled(stage2, task, state, batch, mesh)
  return [
      (
          match['kind'],
          tuple(int(side) for side in match['shape'].split(',') if side),
          match['name'],
      )
      for match in map(_COLLECTIVE.search, program.as_text().splitlines())
      if match
  ]


def _gathered():
  return [(s, name) for kind, s, name in collectives() if kind == 'all-gather']


def test_the_classifier_is_gathered_once_for_all_chunks():
  shapes = [shape for shape, _ in _gathered()]
  assert shapes.count((16, tiny.WORDS)) == 1


def test_each_kernel_of_a_layer_is_gathered_once_forward_and_once_backward():
  found = collections.Counter(
      (shape, 'transpose' in name)
      for shape, name in _gathered()
      if '/layers/' in name
  )
  # Of the spatial and of the depth transformer, with one layer each.
  kernels = [(16, 3, 2, 8), (2, 8, 16), (16, 64), (64, 16)]
  assert found == {(k, back): 2 for k in kernels for back in (False, True)}


def test_no_device_gathers_the_codewords_of_the_whole_batch():
  assert not [s for s, _ in _gathered() if len(s) > 3 and s[0] == tiny.BATCH]


def test_only_embeddings_of_conditions_are_exchanged():
  """Each device looks up its part of the width for the whole batch."""
  names = [name for kind, _, name in collectives() if kind == 'all-to-all']
  assert len(names) == 2 and all('embed_condition' in name for name in names)
