"""The names of the FID network's arrays in its two files."""

import functools
import re

import numpy as np

from rq_jax.conversion import inception_tables
from rq_jax.conversion import mapping
from tests import official

# A convolution in the state dict, and the same one in TensorFlow's graph: all
# branches of each kind of block, and one of each other block.
NAMES = """
Conv2d_1a_3x3 conv | Conv2d_2a_3x3 conv_1 | Conv2d_2b_3x3 conv_2
Conv2d_3b_1x1 conv_3 | Conv2d_4a_3x3 conv_4

Mixed_5b.branch1x1 mixed/conv | Mixed_5b.branch_pool mixed/tower_2/conv
Mixed_5b.branch5x5_1 mixed/tower/conv | Mixed_5b.branch5x5_2 mixed/tower/conv_1
Mixed_5b.branch3x3dbl_1 mixed/tower_1/conv
Mixed_5b.branch3x3dbl_2 mixed/tower_1/conv_1
Mixed_5b.branch3x3dbl_3 mixed/tower_1/conv_2
Mixed_5c.branch1x1 mixed_1/conv | Mixed_5d.branch1x1 mixed_2/conv

Mixed_6a.branch3x3 mixed_3/conv | Mixed_6a.branch3x3dbl_1 mixed_3/tower/conv
Mixed_6a.branch3x3dbl_2 mixed_3/tower/conv_1
Mixed_6a.branch3x3dbl_3 mixed_3/tower/conv_2

Mixed_6b.branch1x1 mixed_4/conv | Mixed_6b.branch_pool mixed_4/tower_2/conv
Mixed_6b.branch7x7_1 mixed_4/tower/conv
Mixed_6b.branch7x7_2 mixed_4/tower/conv_1
Mixed_6b.branch7x7_3 mixed_4/tower/conv_2
Mixed_6b.branch7x7dbl_1 mixed_4/tower_1/conv
Mixed_6b.branch7x7dbl_2 mixed_4/tower_1/conv_1
Mixed_6b.branch7x7dbl_3 mixed_4/tower_1/conv_2
Mixed_6b.branch7x7dbl_4 mixed_4/tower_1/conv_3
Mixed_6b.branch7x7dbl_5 mixed_4/tower_1/conv_4
Mixed_6c.branch1x1 mixed_5/conv | Mixed_6d.branch1x1 mixed_6/conv
Mixed_6e.branch1x1 mixed_7/conv

Mixed_7a.branch3x3_1 mixed_8/tower/conv
Mixed_7a.branch3x3_2 mixed_8/tower/conv_1
Mixed_7a.branch7x7x3_1 mixed_8/tower_1/conv
Mixed_7a.branch7x7x3_2 mixed_8/tower_1/conv_1
Mixed_7a.branch7x7x3_3 mixed_8/tower_1/conv_2
Mixed_7a.branch7x7x3_4 mixed_8/tower_1/conv_3

Mixed_7b.branch1x1 mixed_9/conv | Mixed_7b.branch_pool mixed_9/tower_2/conv
Mixed_7b.branch3x3_1 mixed_9/tower/conv
Mixed_7b.branch3x3_2a mixed_9/tower/mixed/conv
Mixed_7b.branch3x3_2b mixed_9/tower/mixed/conv_1
Mixed_7b.branch3x3dbl_1 mixed_9/tower_1/conv
Mixed_7b.branch3x3dbl_2 mixed_9/tower_1/conv_1
Mixed_7b.branch3x3dbl_3a mixed_9/tower_1/mixed/conv
Mixed_7b.branch3x3dbl_3b mixed_9/tower_1/mixed/conv_1
Mixed_7c.branch1x1 mixed_10/conv
"""
LEAVES = {
    'conv.weight': 'conv2d_params',
    'bn.weight': 'batchnorm/gamma',
    'bn.bias': 'batchnorm/beta',
    'bn.running_mean': 'batchnorm/moving_mean',
    'bn.running_var': 'batchnorm/moving_variance',
}


@functools.cache
def names_in_graph():
  """Names in the graph by those in the state dict, through our names."""
  state = official.drawn_weights('inception')
  ours = mapping.shapes(official.inception_variables(state))
  first, second = (
      inception_tables.rows(ours, {name: ()})
      for name in ('fc.bias', 'softmax/biases')
  )
  graph = {row.ours: row.theirs[0] for row in second}
  return {row.theirs[0]: graph[row.ours] for row in first}


def test_every_array_of_the_state_dict_has_one_name_in_the_graph():
  found = names_in_graph()
  assert found.keys() == official.drawn_weights('inception').keys()
  assert len(set(found.values())) == len(found)
  assert found['fc.weight'] == 'softmax/weights'
  assert found['fc.bias'] == 'softmax/biases'


def test_convolutions_have_the_names_of_the_graph():
  found = names_in_graph()
  pairs = [pair.split() for pair in re.split(r'[|\n]', NAMES) if pair.strip()]
  assert len(pairs) == 47
  for ours, theirs in pairs:
    for end, graph_end in LEAVES.items():
      assert found[f'{ours}.{end}'] == f'{theirs}/{graph_end}'


def test_only_what_is_no_weight_is_unused():
  unused = [
      'Conv2d_1a_3x3.bn.num_batches_tracked',
      'Sub/y',
      'mixed/tower/conv/stddev',
      'pool_3/_reshape/shape',
  ]
  used = [*official.drawn_weights('inception'), *names_in_graph().values()]
  for name in unused:
    assert re.fullmatch(inception_tables.UNUSED, name)
  for name in [*used, 'fc2.weight', 'mixed_11/conv/conv2d_params']:
    assert not re.fullmatch(inception_tables.UNUSED, name)


def test_kernels_of_the_graph_are_laid_out_as_ours():
  state = official.drawn_weights('inception')
  names = names_in_graph()
  graph = {}
  for name, array in state.items():
    order = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
    graph[names[name]] = np.transpose(array, order)
  first = mapping.flatten(official.inception_variables(state))
  second = mapping.flatten(official.inception_variables(graph))
  assert first.keys() == second.keys()
  for name, array in first.items():
    np.testing.assert_array_equal(array, second[name])
  assert first['params/fc/kernel'].shape == (2048, 1008)
