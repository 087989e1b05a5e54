"""Features of images in the networks of a dialect, batch by batch."""

from collections.abc import Callable, Mapping
import functools
from typing import Any

from etils import epath
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import compiler_options
from rq_jax.checkpoints import networks
from rq_jax.distributed import partitioning
from rq_jax.evaluation import batches
from rq_jax.evaluation import resizing
from rq_jax.evaluation.dialects import Dialect
from rq_jax.models import build
from rq_jax.models import inception as inception_model
from rq_jax.models import vgg
from rq_jax.typing import Array, Variables

_VGG16_SIZE = 224
# Mean and deviation of ImageNet's pixels in [0, 255], as torchvision has them.
_MEAN = np.array([0.485, 0.456, 0.406]) * 255
_DEVIATION = np.array([0.229, 0.224, 0.225]) * 255


class Extractor:
  """Function from images to features: uint8[B, Y, X, 3] -> float32[B, ...].

  Images go through the network in batches of one size; the last batch is filled
  up with black images. XLA computes the features of an image independently of
  the other images in the batch. Their last bits may differ between batch sizes,
  numbers of devices and kinds of devices, because XLA may then sum in another
  order. With one batch size on one CPU, tests find equal bits at every position
  in a batch.

  Attributes:
    description: What decides the features, for the fingerprint of a result.
  """

  def __init__(
      self,
      module: nn.Module,
      variables: Variables,
      *,
      resize: str,
      size: int,
      scale: Callable[[Array], Array],
      keys: Mapping[str, str],
      description: Mapping[str, Any],
      mesh: jax.sharding.Mesh | None = None,
  ):
    """Prepares the program, which is compiled for each size of images.

    Args:
      module: Function from float32[B, size, size, 3] to features by name.
      variables: Its variables, on one device or on all of the mesh.
      resize: A key of `resizing.METHODS`.
      size: Height and width of the images that the module takes.
      scale: Function from resized pixels to what the module takes.
      keys: By name of a feature here, its name in the module.
      description: What decides the features.
      mesh: Devices of this process that batches are split over, with all
        variables on each of them; None for one device.
    """
    self.description = dict(description)
    self._variables = variables
    self._mesh = batches.mesh_or_one_device(mesh)
    method, on_host = resizing.METHODS[resize], resize in resizing.ON_HOST

    def resized(images: Array) -> Array:
      return method(images, size)

    def features(variables: Variables, images: Array) -> dict[str, jax.Array]:
      pixels = images if on_host else resized(images)
      # Otherwise, GPUs and TPUs would round the factors of products.
      with jax.default_matmul_precision('highest'):
        outputs: Any = module.apply(variables, scale(pixels))
      return {name: outputs[key] for name, key in keys.items()}

    self._prepare = resized if on_host else np.asarray
    self._features = compiler_options.Jitted(
        features, compiler_options.convolutions
    )

  def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the features of any number of images of one size.

    Args:
      images: uint8[B, Y, X, 3], RGB.

    Returns:
      float32[B, ...] for each name of a feature.

    Raises:
      ValueError: If the images have another dtype or shape, or no pixels.
    """
    images = batches.check_images(images)
    features = functools.partial(self._features, self._variables)
    return batches.run(features, images, self._mesh, prepare=self._prepare)


def inception(
    dialect: Dialect,
    network: epath.PathLike,
    mesh: jax.sharding.Mesh | None = None,
    *,
    flag: str = '--inception',
) -> Extractor:
  """Restores the Inception network of a dialect.

  Args:
    dialect: The dialect.
    network: Folder that `convert --from=inception` wrote.
    mesh: Devices of this process; None for one device.
    flag: The flag that names the folder, for errors.

  Returns:
    An extractor of what the dialect reads: 'pool', float32[B, 2048]; 'spatial',
    float32[B, 2023], if it has sFID; 'logits', float32[B, 1008], with or
    without bias as it reads them, if it has the Inception Score.

  Raises:
    ValueError: If the folder holds no Inception network, or is damaged.
  """
  keys = {'pool': 'pool'}
  if dialect.spatial:
    keys['spatial'] = 'spatial'
  if dialect.inception_score:
    keys['logits'] = dialect.inception_score.logits
  return _restored(
      inception_model.InceptionV3,
      network,
      kind='inception',
      flag=flag,
      mesh=mesh,
      resize=dialect.resize,
      size=resizing.INCEPTION_SIZE,
      scale=(dialect.scale, resizing.SCALES[dialect.scale]),
      keys=keys,
  )


def vgg16(
    dialect: Dialect,
    network: epath.PathLike,
    mesh: jax.sharding.Mesh | None = None,
) -> Extractor:
  """Restores the VGG16 in whose features a dialect has precision and recall.

  Args:
    dialect: A dialect whose `precision_recall.network` is 'vgg16'.
    network: Folder that `convert --from=vgg16` wrote.
    mesh: Devices of this process; None for one device.

  Returns:
    An extractor of 'fc2', float32[B, 4096], after the ReLU.

  Raises:
    ValueError: If the folder holds no VGG16, or is damaged.
  """
  return _restored(
      vgg.VGG16,
      network,
      kind='vgg16',
      flag='--vgg16',
      mesh=mesh,
      resize=dialect.resize,
      size=_VGG16_SIZE,
      scale=('(x-mean)/deviation', _by_mean_and_deviation),
      keys={'fc2': 'fc2'},
  )


def _by_mean_and_deviation(pixels: Array) -> jax.Array:
  """Scales pixels in [0, 255], as torch-fidelity does for VGG16."""
  shape = (1, 1, 1, 3)
  mean = jnp.asarray(_MEAN, jnp.float32).reshape(shape)
  deviation = jnp.asarray(_DEVIATION, jnp.float32).reshape(shape)
  return (jnp.asarray(pixels) - mean) / deviation


def _restored(
    make: Callable[..., nn.Module],
    path: epath.PathLike,
    *,
    kind: str,
    flag: str,
    mesh: jax.sharding.Mesh | None,
    resize: str,
    size: int,
    scale: tuple[str, Callable[[Array], Array]],
    keys: Mapping[str, str],
) -> Extractor:
  """Makes a module, restores it, and describes what it computes."""
  described = networks.describe(path, kinds=(kind,), flag=flag)
  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  module = make(**described.fields)
  mesh = batches.mesh_or_one_device(mesh)
  abstract = build.network_variables(module, image)
  variables = networks.restore(
      path, described, abstract, sharding=partitioning.replicated(mesh)
  )
  return Extractor(
      module,
      variables,
      resize=resize,
      size=size,
      scale=scale[1],
      keys=keys,
      mesh=mesh,
      description={
          'network': kind,
          'weights': described.fingerprint,
          'sources': [dict(source) for source in described.sources],
          'resize': f'{resize} to {size}x{size}',
          'scale': scale[0],
          'features': dict(keys),
      },
  )
