"""Images in .npz files, as ADM, `sample --format=npz` and others write them."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import zipfile

from etils import epath
import numpy as np

from rq_jax.config import sizes
from rq_jax.data import transforms
from rq_jax.evaluation import npz

IMAGES = 'arr_0'
_LABELS = 'arr_1'


@dataclasses.dataclass(frozen=True)
class _File:
  """A file of images.

  Attributes:
    path: The file.
    shape: N, Y, X, 3.
    checksum: CRC-32 of the images, as the file notes it.
    labels: int32[N]; None if it has none.
  """

  path: str
  shape: tuple[int, ...]
  checksum: int
  labels: np.ndarray | None

  @property
  def size(self) -> tuple[int, int]:
    """Height and width of the images."""
    return self.shape[1], self.shape[2]


class Arrays:
  """The images of .npz files, one file after the other; see `ImageSet`.

  Reads image by image, so the files may be larger than the memory.

  Attributes:
    labels: `arr_1` of all files, int32[N]; None if a file has no such array.
    num_classes: None.
    class_names: None.
  """

  num_classes: int | None = None
  class_names: Sequence[str] | None = None

  def __init__(
      self,
      paths: Sequence[epath.PathLike],
      *,
      flag: str,
      image_size: sizes.ImageSize | None,
  ):
    """Reads the headers of the arrays.

    Args:
      paths: The files, in order.
      flag: The flag and value that name them, for errors.
      image_size: Size that images are resized and cropped to; None for no
        change.

    Raises:
      ValueError: If a file is no .npz file, or has no uint8[N, Y, X, 3] in
        `arr_0`, or if the sizes of the images differ.
    """
    self._image_size = image_size
    self._files = [_open(str(path), flag) for path in paths]
    first = self._files[0]
    for file in self._files:
      if file.shape[1:] != first.shape[1:]:
        raise ValueError(
            f'{flag} has images of different sizes: {first.path} of'
            f' {sizes.text(first.size)} pixels, {file.path} of'
            f' {sizes.text(file.size)}. Evaluate them one by one.'
        )
    labels = [file.labels for file in self._files if file.labels is not None]
    self.labels = None
    if len(labels) == len(self._files):
      self.labels = np.concatenate(labels)

  def __len__(self) -> int:
    """Number of images."""
    return sum(file.shape[0] for file in self._files)

  def size(self) -> tuple[int, int]:
    """Height and width of all images."""
    size = self._image_size
    return self._files[0].size if size is None else sizes.pair(size)

  def described(self) -> dict[str, object]:
    """All values that decide the images."""
    size = self._image_size
    return {
        'path': self._files[0].path,
        'images': len(self),
        'crc32': [file.checksum for file in self._files],
        'image_size': size and sizes.pair(size),
    }

  def read(self, parts: Iterable[range]) -> Iterator[np.ndarray]:
    """Yields the images of each part, uint8[n, Y, X, 3].

    Raises:
      ValueError: If a file is damaged.
    """
    position, images = 0, self._images()
    for part in parts:
      if part.start < position:
        position, images = 0, self._images()
      for _ in range(position, part.start):
        next(images)  # Archives have no faster way.
      found = [self._fitted(next(images)) for _ in part]
      position = part.stop
      if position == len(self):
        next(images, None)  # Compares the checksum of the last file.
      yield np.stack(found)

  def _images(self) -> Iterator[np.ndarray]:
    """Yields all images, one by one."""
    for file in self._files:
      with npz.NpzFile(file.path) as stored:
        for rows in stored.rows(IMAGES, 1):
          yield rows[0]

  def _fitted(self, image: np.ndarray) -> np.ndarray:
    size = self._image_size
    if size is None or image.shape[:2] == sizes.pair(size):
      return image
    return transforms.center(image, image_size=size)


def _open(path: str, flag: str) -> _File:
  with npz.NpzFile(path) as stored:
    shape, dtype = stored.shapes.get(IMAGES), stored.dtypes.get(IMAGES)
    if shape is None:
      raise ValueError(
          f'{flag}: {path} has no array {IMAGES} with images, but'
          f' {", ".join(stored.shapes)}. Give another file.'
      )
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
      raise ValueError(
          f'{flag}: {path} has {IMAGES} as {dtype}{list(shape)}, but images'
          ' must be uint8[N, Y, X, 3], with at least one image. Convert them.'
      )
    labels = None
    # Other programs may store other things there.
    if stored.shapes.get(_LABELS) == shape[:1]:
      found = stored.read(_LABELS)
      labels = found.astype(np.int32) if found.dtype.kind in 'iu' else None
  with zipfile.ZipFile(path) as archive:
    checksum = archive.getinfo(f'{IMAGES}.npy').CRC
  return _File(path, shape, checksum, labels)
