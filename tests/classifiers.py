"""Classifiers with random weights, converted through the tables."""

import functools

import numpy as np

from rq_jax.conversion import classifier_tables
from rq_jax.conversion import mapping
from rq_jax.evaluation import classifier_inputs
from rq_jax.models import build
from rq_jax.models import efficientnet
from rq_jax.models import resnet
from rq_jax.models import vgg
from tests import official

# By name: the module, its fields by official shapes, its table.
NETWORKS = {
    'resnet': (
        resnet.ResNet,
        classifier_tables.resnet_fields,
        classifier_tables.resnet,
    ),
    'vgg16': (
        vgg.VGG16,
        classifier_tables.vgg16_fields,
        classifier_tables.vgg16,
    ),
    'efficientnet_lite0': (
        efficientnet.EfficientNetLite0,
        classifier_tables.efficientnet_lite0_fields,
        classifier_tables.efficientnet_lite0,
    ),
}


def abstract(module):
  """A module's variables, as shapes."""
  return build.network_variables(module, classifier_inputs.SHAPE)


def shapes(module):
  """Shapes of a module's variables, by path."""
  return mapping.shapes(abstract(module))


def official_shapes(kind, module):
  """Shapes of the official arrays of a module."""
  ours = shapes(module)
  return mapping.official_shapes(NETWORKS[kind][2](ours), ours)


def convert(kind, state):
  """The module and the variables of an official state dict."""
  module_of, fields_of, rows_of = NETWORKS[kind]
  found = {name: array.shape for name, array in state.items()}
  module = module_of(**fields_of(found))
  ours = shapes(module)
  rows = rows_of(ours)
  mapping.check(rows, ours, found, 'the recording')
  dtypes = dict.fromkeys(ours, np.dtype('f4'))
  leaves = dict(mapping.to_ours(rows, state.__getitem__, dtypes))
  return module, mapping.unflatten(abstract(module), leaves)


@functools.cache
def recorded(name):
  """The module and the variables of a recording with random weights."""
  kind = 'resnet' if name.startswith('resnet') else name
  return convert(kind, official.drawn_weights(name))


def floats(pixels, scale=64):
  """The images of a recording, as the script that made it scales them."""
  return pixels.astype(np.float32) / np.float32(scale) - np.float32(128 / scale)
