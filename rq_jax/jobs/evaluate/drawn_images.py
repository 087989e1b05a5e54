"""Images that a model draws, or reconstructs, while they are judged."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import sizes
from rq_jax.distributed import partitioning
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import listed_images
from rq_jax.jobs.evaluate import networks
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.tokenizer import Tokenizer

# Images that a tokenizer encodes together.
_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
  """Images that a sampler draws, without any files; see `ImageSet`.

  Attributes:
    drawing: The images to draw, in chunks of the job.
    identity: All values that decide the images.
    class_names: Names of the classes by label; None if they are unknown.
  """

  drawing: drawing_lib.Drawing
  identity: dict[str, Any]
  class_names: Sequence[str] | None = None

  @property
  def labels(self) -> np.ndarray | None:
    """Class of each image, int32[N]; None if they have no classes."""
    return self.drawing.conditions.labels

  @property
  def num_classes(self) -> int | None:
    """Number of classes; None if the model has none."""
    return self.drawing.sampler.prior.num_classes or None

  def __len__(self) -> int:
    """Number of images."""
    return self.drawing.conditions.num_images

  def size(self) -> tuple[int, int]:
    """Height and width of all images."""
    return sizes.pair(self.drawing.sampler.tokenizer.model.image_size)

  def described(self) -> dict[str, Any]:
    """All values that decide the images."""
    return self.identity

  def read(self, parts: Iterable[range]) -> Iterator[np.ndarray]:
    """Draws the images of each part, uint8[n, Y, X, 3]."""
    size = self.drawing.chunk_size
    for _, images in self.drawing.chunks(part.start // size for part in parts):
      yield images


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reconstructed:
  """Reconstructions of other images; see `ImageSet`.

  Attributes:
    tokenizer: The RQ-VAE, on all devices of the mesh.
    mesh: Devices of this process, which share the images of a batch.
    originals: The images that it encodes and decodes.
    identity: All values that decide the reconstructions.
  """

  tokenizer: Tokenizer
  mesh: jax.sharding.Mesh
  originals: image_sets.ImageSet
  identity: dict[str, Any]

  @property
  def labels(self) -> np.ndarray | None:
    """Classes of the originals."""
    return self.originals.labels

  @property
  def num_classes(self) -> int | None:
    """Number of classes of the originals; None if it is unknown."""
    return self.originals.num_classes

  @property
  def class_names(self) -> Sequence[str] | None:
    """Names of the classes of the originals."""
    return self.originals.class_names

  def __len__(self) -> int:
    """Number of images."""
    return len(self.originals)

  def size(self) -> tuple[int, int]:
    """Height and width of all images."""
    return sizes.pair(self.tokenizer.model.image_size)

  def described(self) -> dict[str, Any]:
    """All values that decide the images."""
    return self.identity

  def read(self, parts: Iterable[range]) -> Iterator[np.ndarray]:
    """Reconstructs the images of each part, uint8[n, Y, X, 3]."""
    size = -(-_BATCH // self.mesh.size) * self.mesh.size
    for images in self.originals.read(parts):
      yield networks.in_batches(self._reconstruct, images, size=size)

  def _reconstruct(self, images: np.ndarray) -> np.ndarray:
    placed = jax.device_put(images, partitioning.batch_sharding(self.mesh))
    codes = tokenizer_lib.encode_known(self.tokenizer, placed)
    return np.asarray(tokenizer_lib.decode_known(self.tokenizer, codes))


def of_checkpoint(
    drawing: drawing_lib.Drawing, origin: dict[str, Any]
) -> Drawn:
  """The images of a drawing.

  Args:
    drawing: The images to draw.
    origin: Origin of the generator, as returned by `drawing.restore`.
  """
  return Drawn(
      drawing=drawing,
      identity={
          'path': origin['checkpoint'],
          'images': drawing.conditions.num_images,
          **{n: v for n, v in origin.items() if n != 'checkpoint'},
          **drawing.described(),
      },
      class_names=drawing.sampler.class_names,
  )


def of_tokenizer(
    path: str, tokenizer: Tokenizer, originals: listed_images.Listed
) -> Reconstructed:
  """Reconstructions of images by a tokenizer.

  Args:
    path: Folder of the tokenizer.
    tokenizer: The restored tokenizer.
    originals: The images, resized and cropped to the size that it encodes.
  """
  mesh = partitioning.make_mesh({'data': -1}, devices=jax.local_devices())
  variables = jax.device_put(tokenizer.variables, partitioning.replicated(mesh))
  return Reconstructed(
      tokenizer=dataclasses.replace(tokenizer, variables=variables),
      mesh=mesh,
      originals=originals,
      identity={
          'path': path,
          'images': len(originals),
          'tokenizer': tokenizer.fingerprint,
          'originals': originals.described(),
      },
  )
