"""Classifiers of images that `convert` wrote, and scores by their classes."""

from collections.abc import Callable, Sequence

from etils import epath
import jax
import numpy as np

from rq_jax.checkpoints import networks
from rq_jax.distributed import partitioning
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
    prepare = classifier_inputs.PREPARE[described.kind]
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
        'preprocessing': prepare.__name__,
    }
    self._variables = variables
    self._devices = partitioning.batch_parallelism(mesh)
    self._sharding = partitioning.batch_sharding(mesh)
    self._classify = jax.jit(classify, out_shardings=self._sharding)

  def __call__(self, images: np.ndarray | jax.Array) -> dict[str, np.ndarray]:
    """Classifies images of any size; each shape compiles a program.

    Args:
      images: uint8[B, Y, X, 3].

    Returns:
      'pool', float32[B, F], the features before the last layer; 'logits',
      float32[B, num_classes].

    Raises:
      ValueError: If the images have another dtype or shape, or there are none.
    """
    images = np.asarray(images)
    shaped = images.ndim == 4 and images.shape[-1] == 3 and images.size
    if images.dtype != np.uint8 or not shaped:
      raise ValueError(
          f'The images are {images.dtype}{list(images.shape)}, but must be'
          ' uint8[B, Y, X, 3], with at least one image. Convert them.'
      )
    # The devices need equally many images.
    added = -len(images) % self._devices
    padded = np.pad(images, ((0, added), (0, 0), (0, 0), (0, 0)))
    results = self._classify(
        self._variables, jax.device_put(padded, self._sharding)
    )
    return {
        name: np.asarray(array)[: len(images)]
        for name, array in results.items()
    }


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
  described = networks.describe(path, kinds=_MODULES, flag='--classifier')
  mesh = mesh or partitioning.make_mesh({}, devices=jax.local_devices()[:1])
  module = _MODULES[described.kind](**described.fields)
  abstract = build.network_variables(module, classifier_inputs.SHAPE)
  variables = networks.restore(
      path, described, abstract, sharding=partitioning.replicated(mesh)
  )
  return Classifier(described, variables, mesh)


def log_probabilities(
    logits: np.ndarray, classes: Sequence[Sequence[int]] | None = None
) -> np.ndarray:
  """Log-probabilities of the classes of a generator: [B, K] -> float64[B, M].

  Probabilities of good images are so close to 1 that float32 rounds many of
  them to it. Their logarithms differ.

  Args:
    logits: [B, K], logits of a classifier.
    classes: For each class of the generator, the classes of the classifier
      that it contains, whose probabilities are added; see
      `classifier_classes.read`. None if the classes are the same, so M = K.
  """
  logits = np.asarray(logits, np.float64)
  each = logits - _log_sum(logits)
  if classes is None:
    return each
  columns = [_log_sum(each[:, list(numbers)]) for numbers in classes]
  return np.concatenate(columns, axis=1)


def _log_sum(x: np.ndarray) -> np.ndarray:
  """log(sum(exp(x))) of each row: float64[B, K] -> float64[B, 1]."""
  highest = np.max(x, axis=1, keepdims=True)
  return highest + np.log(np.sum(np.exp(x - highest), axis=1, keepdims=True))
