"""Tables of the names of official arrays and of ours, one for each model.

Official names are those of rqvae/models in kakaobrain/rq-vae-transformer, and
of torchvision's VGG16. Our names are paths in the variables, such as
'params/encoder/conv_in/conv/kernel'. Tables are used in both directions.
"""

from collections.abc import Mapping, Sequence
import re
from typing import NamedTuple

from rq_jax.conversion import layouts
from rq_jax.conversion.layouts import Layout

Shapes = Mapping[str, tuple[int, ...]]


class Row(NamedTuple):
  """Some of our arrays, and the official arrays with the same values."""

  ours: tuple[str, ...]
  theirs: tuple[str, ...]
  layout: Layout


# PyTorch's names of the arrays of a layer, by ours.
_LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}
# Layouts of kernels by their number of dimensions. Those of a classifier with
# one kernel per depth are [D, in, out] in both.
_KERNELS = {2: layouts.DENSE, 3: layouts.SAME, 4: layouts.CONV}


def layer_row(ours: str, shape: tuple[int, ...], layer: str) -> Row:
  """Row of an array of a dense layer, a convolution or a normalization.

  Args:
    ours: Its path, which ends with its name in the layer, such as 'kernel'.
    shape: Its shape.
    layer: Official name of the layer.
  """
  leaf = ours.rpartition('/')[2]
  layout = _KERNELS[len(shape)] if leaf == 'kernel' else layouts.SAME
  return Row((ours,), (f'{layer}.{_LEAVES[leaf]}',), layout)


# Rewrites names of the RQ-VAE's modules, by all patterns in this order.
_RQVAE_MODULES = (
    (r'^to_features/', 'quant_conv/'),
    (r'^from_features/', 'post_quant_conv/'),
    (r'^to_rgb/', 'decoder/conv_out/'),
    (r'/mid_block_0/', '/mid/block_1/'),
    (r'/mid_attention/', '/mid/attn_1/'),
    (r'/mid_block_1/', '/mid/block_2/'),
    (r'/level_(\d+)_(block|attention)_(\d+)/', r'/level/\1/\2/\3/'),
    (r'/level_(\d+)_', r'/level/\1/'),
    (r'^encoder/level/', 'encoder/down/'),
    (r'^decoder/level/', 'decoder/up/'),
    (r'/attention/', '/attn/'),
    (r'/query/', '/q/'),
    (r'/key/', '/k/'),
    (r'/value/', '/v/'),
    (r'/out/', '/proj_out/'),
    (r'/shortcut/', '/nin_shortcut/'),
)
_CODEBOOK = {
    'embedding': ('weight', layouts.PADDED),
    'count': ('cluster_size_ema', layouts.SAME),
    'total': ('embed_ema', layouts.SAME),
}


def rqvae(shapes: Shapes, *, depth: int) -> list[Row]:
  """Rows of an RQ-VAE with variables of these shapes and D depths."""
  rows = []
  for ours, shape in shapes.items():
    collection, _, name = ours.partition('/')
    if collection == 'codebook':
      rows.append(_codebook_row(ours, depth))
      continue
    for pattern, module in _RQVAE_MODULES:
      name = re.sub(pattern, module, name)
    # Our layers hold a `conv` or a `norm`, which official names do not have.
    layer = name.rsplit('/', 2)[0].replace('/', '.')
    rows.append(layer_row(ours, shape, layer))
  return rows


def _codebook_row(ours: str, depth: int) -> Row:
  _, _, book, field = ours.split('/')
  theirs, layout = _CODEBOOK[field]
  # A shared codebook is listed once for each depth.
  depths = range(depth) if book == 'shared' else [int(book.split('_')[1])]
  names = tuple(f'quantizer.codebooks.{d}.{theirs}' for d in depths)
  return Row((ours,), names, layouts.copies(len(names), layout))


_TRANSFORMER_ARRAYS = {
    'condition_position': ('pos_emb_cond', layouts.LEADING),
    'spatial_position': ('pos_emb_hw', layouts.LEADING),
    'depth_position': ('pos_emb_d', layouts.LEADING),
    'condition_embedding': ('cond_emb.weight', layouts.SAME),
    'code_embedding': ('tok_emb.weight', layouts.SAME),
}
_TRANSFORMER_LAYERS = {
    'spatial_projection': 'input_mlp',
    'depth_projection': 'head_mlp',
    'classifier/norm': 'classifier.layer_norm',
    'classifier': 'classifier.linear',
    'condition_norm': 'cond_classifier.layer_norm',
    'condition_classifier': 'cond_classifier.linear',
}
_STACKS = {
    'spatial_stack': 'body_transformer',
    'depth_stack': 'head_transformer',
}
_BLOCK = {
    'norm1': 'ln1',
    'norm2': 'ln2',
    'query': 'attn.query',
    'key': 'attn.key',
    'value': 'attn.value',
    'out': 'attn.proj',
    'mlp_in': 'mlp.0',
    'mlp_out': 'mlp.2',
}


def rqtransformer(
    shapes: Shapes, *, heads: int, sizes: Sequence[int]
) -> list[Row]:
  """Rows of an RQ-Transformer with variables of these shapes.

  Args:
    shapes: Shapes of the variables, by path.
    heads: Number of attention heads, N.
    sizes: Number of codewords at each depth.
  """
  block = block_rows(heads, _BLOCK)
  rows, embeddings = [], []
  for ours, shape in shapes.items():
    name = ours.removeprefix('params/')
    stack, _, rest = name.partition('/layers/')
    if stack in _STACKS:
      blocks = f'{_STACKS[stack]}.blocks'
      rows.append(stacked_row(ours, blocks, block[rest], layers=shape[0]))
    elif name.startswith('code_embedding_'):
      embeddings.append(ours)
    elif name in _TRANSFORMER_ARRAYS:
      theirs, layout = _TRANSFORMER_ARRAYS[name]
      rows.append(Row((ours,), (theirs,), layout))
    else:
      layer = _TRANSFORMER_LAYERS[name.rpartition('/')[0]]
      rows.append(layer_row(ours, shape, layer))
  if embeddings:
    by_depth = sorted(embeddings, key=lambda n: int(n.rsplit('_', 1)[1]))
    theirs = ('tok_emb.weight', 'tok_emb.offsets')
    rows.append(Row(tuple(by_depth), theirs, layouts.per_depth(sizes)))
  return rows


def stacked_row(
    ours: str, blocks: str, block: tuple[tuple[str, ...], Layout], layers: int
) -> Row:
  """Row of an array of a `models.transformer.Stack`.

  Args:
    ours: Its path.
    blocks: Official name of the list of blocks.
    block: The value of `block_rows` for this array.
    layers: Number of blocks.
  """
  names, layout = block
  theirs = [f'{blocks}.{i}.{name}' for i in range(layers) for name in names]
  return Row((ours,), tuple(theirs), layouts.stacked(layout, layers=layers))


def block_rows(
    heads: int, names: Mapping[str, str]
) -> dict[str, tuple[tuple[str, ...], Layout]]:
  """Official arrays of one `models.transformer.Block`, by our path in it.

  Args:
    heads: Number of attention heads, N.
    names: Official names of its layers, by 'norm1', 'norm2', 'query', 'key',
      'value', 'out', 'mlp_in' and 'mlp_out'.
  """
  parts = [names[name] for name in ('query', 'key', 'value')]
  fused, attention = layouts.fused(heads=heads), 'attention/query_key_value'
  rows = {
      f'{attention}/kernel': (tuple(f'{p}.weight' for p in parts), fused),
      f'{attention}/bias': (tuple(f'{p}.bias' for p in parts), fused),
  }
  merged = layouts.merged(heads=heads)
  for ours, theirs, weight, layout in (
      ('norm1', 'norm1', 'scale', layouts.SAME),
      ('norm2', 'norm2', 'scale', layouts.SAME),
      ('attention/out', 'out', 'kernel', merged),
      ('mlp_in', 'mlp_in', 'kernel', layouts.DENSE),
      ('mlp_out', 'mlp_out', 'kernel', layouts.DENSE),
  ):
    rows[f'{ours}/{weight}'] = ((f'{names[theirs]}.weight',), layout)
    rows[f'{ours}/bias'] = ((f'{names[theirs]}.bias',), layouts.SAME)
  return rows


def discriminator(*, layers: int, norm: str) -> list[Row]:
  """Rows of a patch discriminator; see `models.discriminator`.

  Args:
    layers: Number of convolutions that halve the resolution.
    norm: 'batch' or 'act'.
  """
  rows = []
  for i in range(layers + 2):
    # Convolution, normalization, activation; normalization starts at i = 1.
    conv = f'main.{3 * i - 1 if i else 0}'
    inner = 0 < i <= layers
    ours = f'disc_params/conv_{i}'
    rows.append(Row((f'{ours}/kernel',), (f'{conv}.weight',), layouts.CONV))
    if not inner or norm == 'act':
      rows.append(Row((f'{ours}/bias',), (f'{conv}.bias',), layouts.SAME))
    if inner:
      rows += _norm_rows(norm, f'norm_{i}', f'main.{3 * i}')
  return rows


def _norm_rows(norm: str, ours: str, theirs: str) -> list[Row]:
  params, stats = f'disc_params/{ours}', f'disc_stats/{ours}'
  if norm == 'act':
    names = (f'{params}/shift', f'{params}/scale')
    names += tuple(f'{stats}/{n}' for n in ('shift', 'scale', 'fitted'))
    official = tuple(f'{theirs}.{n}' for n in ('loc', 'scale', 'initialized'))
    return [Row(names, official, layouts.ACT_NORM)]
  moving = ('running_mean', 'running_var', 'num_batches_tracked')
  return [
      Row((f'{params}/scale',), (f'{theirs}.weight',), layouts.SAME),
      Row((f'{params}/bias',), (f'{theirs}.bias',), layouts.SAME),
      Row(
          (f'{stats}/mean', f'{stats}/var'),
          tuple(f'{theirs}.{n}' for n in moving),
          layouts.BATCH_STATISTICS,
      ),
  ]


# Indices of the convolutions among the layers of torchvision's VGG16.
_VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def vgg16_convolutions() -> list[Row]:
  """Rows of the convolutions of VGG16; see `models.vgg`."""
  rows = []
  for i, layer in enumerate(_VGG16):
    ours, theirs = f'params/conv_{i}', f'features.{layer}'
    rows.append(Row((f'{ours}/kernel',), (f'{theirs}.weight',), layouts.CONV))
    rows.append(Row((f'{ours}/bias',), (f'{theirs}.bias',), layouts.SAME))
  return rows


def lpips() -> list[Row]:
  """Rows of the perceptual network; see `models.lpips`."""
  return vgg16_convolutions() + [
      Row(
          (f'params/weight_{i}',), (f'lin{i}.model.1.weight',), layouts.CHANNELS
      )
      for i in range(5)
  ]


# Parts of official names, in the order in which state dicts list them.
_ORDER = (
    'pos_emb_cond', 'pos_emb_hw', 'pos_emb_d', 'cond_emb', 'input_mlp',
    'head_mlp', 'tok_emb', 'body_transformer', 'head_transformer',
    'classifier', 'cond_classifier', 'ln1', 'ln2', 'key', 'query', 'value',
    'layer_norm', 'linear', 'encoder', 'decoder', 'quantizer', 'quant_conv',
    'post_quant_conv', 'conv_in', 'down', 'mid', 'up', 'norm_out', 'conv_out',
    'block', 'block_1', 'attn_1', 'block_2', 'attn', 'downsample', 'upsample',
    'mlp', 'norm', 'norm1', 'conv1', 'norm2', 'conv2', 'nin_shortcut', 'q',
    'k', 'v', 'proj_out', 'proj', 'weight', 'loc', 'scale', 'initialized',
    'offsets', 'bias', 'running_mean', 'running_var', 'num_batches_tracked',
    'cluster_size_ema', 'embed_ema',
)  # fmt: skip
_RANK = {name: rank for rank, name in enumerate(_ORDER)}


def official_order(name: str) -> tuple[int, ...]:
  """A key that sorts names in the order of the official state dicts."""
  parts = name.split('.')
  return tuple(int(p) if p.isdigit() else _RANK.get(p, -1) for p in parts)
