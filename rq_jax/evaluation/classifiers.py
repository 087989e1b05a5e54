"""Classifiers of images that `convert` wrote."""

from collections.abc import Callable
import functools

from etils import epath
import jax
import numpy as np

from rq_jax import compiler_options
from rq_jax.checkpoints import networks
from rq_jax.distributed import partitioning
from rq_jax.evaluation import batches
from rq_jax.evaluation import classifier_inputs
from rq_jax.models import build
from rq_jax.models import efficientnet
from rq_jax.models import module as module_lib
from rq_jax.models import resnet
from rq_jax.typing import Variables

_MODULES: dict[str, Callable[..., module_lib.Module]] = {
    'resnet': resnet.ResNet,
    'efficientnet_lite0': efficientnet.EfficientNetLite0,
}


class Classifier:
  """A classifier with its weights on the devices; see `restore`.

  Attributes:
    num_classes: Number of classes.
    widths: Length of a row of each array that a call returns, by its name.
    fingerprint: Hash of the weights.
    description: What the results depend on: the network, its fields, the
      fingerprint, the files it was converted from, and how it prepares images.
  """

  def __init__(
      self,
      described: networks.Description,
      variables: Variables,
      mesh: jax.sharding.Mesh,
  ):
    """Builds the program.

    Args:
      described: Which network it is.
      variables: Its variables, on every device of the mesh.
      mesh: Devices that share the images of a call.
    """
    preprocessing, prepare = classifier_inputs.of_network(described)
    module = _MODULES[described.kind](**described.fields)

    def classify(variables, images):
      # Otherwise, GPUs and TPUs would round the factors of products.
      with jax.default_matmul_precision('highest'):
        return module.apply(variables, prepare(images))

    self.num_classes = int(described.fields['num_classes'])
    self.fingerprint = described.fingerprint
    self.description = {
        'network': described.kind,
        **described.fields,
        'fingerprint': described.fingerprint,
        'sources': [dict(source) for source in described.sources],
        'preprocessing': preprocessing,
    }
    self._variables = variables
    self._mesh = mesh
    self._classify = compiler_options.Jitted(
        classify, compiler_options.convolutions
    )
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8)
    shapes = jax.eval_shape(classify, variables, image)
    self.widths = {name: shape.shape[1] for name, shape in shapes.items()}

  def __call__(self, images: np.ndarray | jax.Array) -> dict[str, np.ndarray]:
    """Classifies images of any size; each size compiles a program.

    Args:
      images: uint8[B, Y, X, 3].

    Returns:
      'pool', float32[B, F], the features before the last layer; 'logits',
      float32[B, num_classes].

    Raises:
      ValueError: If the images have another dtype or shape, or no pixels.
    """
    images = batches.check_images(images)
    classify = functools.partial(self._classify, self._variables)
    return batches.run(classify, images, self._mesh)


def describe(path: epath.PathLike) -> networks.Description:
  """Which classifier a folder holds.

  Raises:
    ValueError: If it holds none.
  """
  return networks.describe(path, kinds=_MODULES, flag='--classifier')


def restore(
    path: epath.PathLike, mesh: jax.sharding.Mesh | None = None
) -> Classifier:
  """Restores a classifier that `convert` wrote.

  Args:
    path: Folder of a converted ResNet or EfficientNet-Lite0.
    mesh: Devices of this process, which share the images of a call; None for
      one device.

  Raises:
    ValueError: If the folder holds no classifier, or is damaged.
  """
  described = describe(path)
  mesh = batches.mesh_or_one_device(mesh)
  module = _MODULES[described.kind](**described.fields)
  abstract = build.network_variables(module, classifier_inputs.SHAPE)
  variables = networks.restore(
      path, described, abstract, sharding=partitioning.replicated(mesh)
  )
  return Classifier(described, variables, mesh)
