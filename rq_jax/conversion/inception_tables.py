"""Tables of the names of the FID network's arrays; see `models.inception`.

Its weights are found in two files: pytorch-fid's `pt_inception-2015-12-05`, a
state dict, and TensorFlow's `classify_image_graph_def.pb`, a frozen graph, from
which the other was made. Our names are those of the state dict.
"""

from rq_jax.conversion import layouts
from rq_jax.conversion import tables
from rq_jax.conversion.tables import Row
from rq_jax.conversion.tables import Shapes

# Names of published files, by their SHA-256.
PUBLISHED = {
    '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2': (
        'pt_inception-2015-12-05 of pytorch-fid'
    ),
}
# Names of arrays that the network does not need: counts of batches and, in a
# graph, all constants that are not weights, such as sizes of images.
UNUSED = (
    r'.*\.num_batches_tracked'
    r'|(?!.*(conv2d_params|batchnorm/\w+|softmax/\w+)$)[^.]*'
)
# By the end of our name, the end of the graph's. Its kernels are
# [h, w, in, out] and [in, out], as ours.
_GRAPH_LEAVES = {
    'conv/kernel': 'conv2d_params',
    'bn/scale': 'batchnorm/gamma',
    'bn/bias': 'batchnorm/beta',
    'bn/mean': 'batchnorm/moving_mean',
    'bn/var': 'batchnorm/moving_variance',
    'fc/kernel': 'softmax/weights',
    'fc/bias': 'softmax/biases',
}
# Names of the layers, in the order in which the graph numbers them.
_GRAPH_STEM = (
    'Conv2d_1a_3x3',
    'Conv2d_2a_3x3',
    'Conv2d_2b_3x3',
    'Conv2d_3b_1x1',
    'Conv2d_4a_3x3',
)
_GRAPH_BLOCKS = (
    'Mixed_5b',
    'Mixed_5c',
    'Mixed_5d',
    'Mixed_6a',
    'Mixed_6b',
    'Mixed_6c',
    'Mixed_6d',
    'Mixed_6e',
    'Mixed_7a',
    'Mixed_7b',
    'Mixed_7c',
)
_GRAPH_BRANCHES = {
    'branch1x1': '',
    'branch5x5': 'tower/',
    'branch7x7': 'tower/',
    'branch3x3': 'tower/',
    'branch3x3dbl': 'tower_1/',
    'branch7x7dbl': 'tower_1/',
    'branch7x7x3': 'tower_1/',
    'branch_pool': 'tower_2/',
}
# This block has no branch1x1, so `tower` is its second branch.
_GRAPH_BRANCHES_6A = {'branch3x3': '', 'branch3x3dbl': 'tower/'}
# Convolutions of a branch; at its end, a branch may split in two.
_GRAPH_CONVS = {
    '': 'conv',
    '1': 'conv',
    '2': 'conv_1',
    '3': 'conv_2',
    '4': 'conv_3',
    '5': 'conv_4',
    '2a': 'mixed/conv',
    '2b': 'mixed/conv_1',
    '3a': 'mixed/conv',
    '3b': 'mixed/conv_1',
}


def rows(ours: Shapes, theirs: Shapes) -> list[Row]:
  """Rows of `InceptionV3` and of the file with these arrays.

  Args:
    ours: Shapes of our arrays, by path.
    theirs: Shapes of the arrays in the file, by name. The names decide whether
      it is the state dict or the graph.
  """
  if any(name.startswith('softmax/') for name in theirs):
    return [_graph_row(name) for name in ours]
  return [
      tables.layer_row(name, shape, _layer(name).replace('/', '.'))
      for name, shape in ours.items()
  ]


def _layer(name: str) -> str:
  """The layer of one of our arrays, such as 'Mixed_5b/branch1x1/conv'."""
  return name.removeprefix('params/').rpartition('/')[0]


def _graph_row(ours: str) -> Row:
  scope, _, kind = _layer(ours).rpartition('/')
  leaf = f'{kind}/{ours.rpartition("/")[2]}'
  prefix = f'{_graph_layer(scope)}/' if scope else ''
  return Row((ours,), (prefix + _GRAPH_LEAVES[leaf],), layouts.SAME)


def _graph_layer(layer: str) -> str:
  """The graph's name of a convolution, such as 'mixed_1/tower/conv_1'."""
  if layer in _GRAPH_STEM:
    return _numbered('conv', _GRAPH_STEM.index(layer))
  block, conv = layer.split('/')
  scope = _numbered('mixed', _GRAPH_BLOCKS.index(block))
  branches = _GRAPH_BRANCHES | (
      _GRAPH_BRANCHES_6A if block == 'Mixed_6a' else {}
  )
  branch = conv if conv in branches else conv.rpartition('_')[0]
  number = conv.removeprefix(branch).removeprefix('_')
  return f'{scope}/{branches[branch]}{_GRAPH_CONVS[number]}'


def _numbered(name: str, index: int) -> str:
  return f'{name}_{index}' if index else name
