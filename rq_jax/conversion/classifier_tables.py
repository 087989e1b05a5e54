"""Tables of the arrays of classifiers, and fields that the arrays imply.

Official names are those of torchvision, and for EfficientNet-Lite0 those of the
PyPI package `efficientnet-lite-pytorch`. Counts of the batches of batch
normalizations (`num_batches_tracked`) have no rows, because nothing reads them.
"""

from collections.abc import Callable
import re
from typing import Any

from rq_jax.conversion import layouts
from rq_jax.conversion import tables
from rq_jax.conversion.tables import Row
from rq_jax.conversion.tables import Shapes
from rq_jax.models import resnet as resnet_lib

# Published files by the first digits of their SHA-256, which their names have.
PUBLISHED_VGG16 = {'397923af': 'vgg16-397923af.pth'}
PUBLISHED_RESNET = {
    digits: f'resnet{depth}-{digits}.pth'
    for depth, digits in (
        (18, 'f37072fd'),
        (34, 'b627a593'),
        (50, '0676ba61'),
        (50, '11ad3fa6'),
        (101, '63fe2227'),
        (101, 'cd907fc2'),
        (152, '394f9c45'),
        (152, 'f82ba261'),
    )
}
PUBLISHED_EFFICIENTNET = {'57934424': 'efficientnet-lite0-57934424.pth'}
# Official indices of the dense layers of VGG16.
_VGG16_DENSE = (0, 3, 6)
_VGG16_MAP = 7  # Height and width of the last map.


def resnet_fields(shapes: Shapes) -> dict[str, Any]:
  """Fields of the ResNet with these official arrays.

  Raises:
    ValueError: If torchvision has no such ResNet.
  """
  found = tuple(
      len({n.split('.')[1] for n in shapes if n.startswith(f'layer{level}.')})
      for level in (1, 2, 3, 4)
  )
  bottleneck = 'layer1.0.conv3.weight' in shapes
  for depth, blocks in resnet_lib.BLOCKS.items():
    if blocks == found and resnet_lib.has_bottlenecks(depth) == bottleneck:
      return {'depth': depth, 'num_classes': _num_classes(shapes, 'fc')}
  kind = 'bottlenecks' if bottleneck else 'blocks without bottlenecks'
  raise ValueError(
      f'--src holds no ResNet of torchvision: layer1 to layer4 have {found}'
      f' {kind}. The depths {", ".join(map(str, resnet_lib.BLOCKS))} can be'
      ' converted. Change --src or --from.'
  )


def resnet(ours: Shapes) -> list[Row]:
  """Rows of a ResNet; see `models.resnet`."""

  def rename(name: str) -> str:
    name = re.sub(r'^(layer\d)_', r'\1.', name)
    name = name.replace('downsample_conv', 'downsample.0')
    return name.replace('downsample_bn', 'downsample.1')

  return _rows(ours, rename)


def efficientnet_lite0_fields(shapes: Shapes) -> dict[str, Any]:
  """Fields of EfficientNet-Lite0 with these official arrays."""
  return {'num_classes': _num_classes(shapes, '_fc')}


def efficientnet_lite0(ours: Shapes) -> list[Row]:
  """Rows of EfficientNet-Lite0; see `models.efficientnet`."""

  def rename(name: str) -> str:
    return re.sub(r'^blocks_', 'blocks.', name)

  return _rows(ours, lambda name: re.sub(r'(^|/)', r'\1_', rename(name)))


def vgg16_fields(shapes: Shapes) -> dict[str, Any]:
  """Fields of the VGG16 with these official arrays."""
  hidden = shapes.get('classifier.3.weight', (4096,))
  classes = _num_classes(shapes, 'classifier.6')
  return {'width': hidden[0], 'num_classes': classes}


def vgg16(ours: Shapes) -> list[Row]:
  """Rows of VGG16 with its classifier; see `models.vgg`."""
  del ours  # All VGG16s have the same names.
  rows = tables.vgg16_convolutions()
  first = layouts.flattened(height=_VGG16_MAP, width=_VGG16_MAP)
  for i, layer in enumerate(_VGG16_DENSE):
    name, theirs = f'params/fc_{i}', f'classifier.{layer}'
    layout = layouts.DENSE if i else first
    rows.append(Row((f'{name}/kernel',), (f'{theirs}.weight',), layout))
    rows.append(Row((f'{name}/bias',), (f'{theirs}.bias',), layouts.SAME))
  return rows


def _num_classes(shapes: Shapes, layer: str) -> int:
  """Outputs of the last layer; a missing layer is reported by the table."""
  return shapes.get(f'{layer}.weight', (1000,))[0]


def _rows(ours: Shapes, rename: Callable[[str], str]) -> list[Row]:
  """Rows of arrays of the same order; `rename` changes the layer's name."""
  rows = []
  for name, shape in ours.items():
    layer = name.removeprefix('params/').rpartition('/')[0]
    theirs = rename(layer).replace('/', '.')
    rows.append(tables.layer_row(name, shape, theirs))
  return rows
