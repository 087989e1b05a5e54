"""Images that are read one by one: of folders, tar files and datasets."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
import dataclasses
import os
from typing import Any

from etils import epath
import numpy as np

from rq_jax.config import sections
from rq_jax.config import sizes
from rq_jax.data import image_files
from rq_jax.data import sources
from rq_jax.data import tar_index
from rq_jax.data import transforms
from rq_jax.data.image_tree import entries
from rq_jax.data.image_tree import index as index_lib
from rq_jax.data.sources import splits
from rq_jax.distributed import progress
from rq_jax.jobs.sample import layout

# Pictures that `sample` writes beside its images.
_NOT_IMAGES = frozenset({layout.GRID})


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Listed:
  """Images that are decoded one by one, in threads; see `ImageSet`.

  Attributes:
    flag: The flag and value that name the images, for errors.
    count: Number of images.
    decode: Function from an index to an image, uint8[h, w, 3].
    measure: Function from an index to the height and width of that image, which
      decodes no pixels if its file says them.
    name: Function from an index to the name of the image, for errors.
    identity: All values that decide the images, except for their size.
    labels: Class of each image, int32[N]; None if they have no classes.
    class_names: Names of the classes by label; None if they are unknown.
    image_size: Size that images are resized and cropped to; None if all have
      the same size, and keep it.
  """

  flag: str
  count: int
  decode: Callable[[int], np.ndarray]
  measure: Callable[[int], tuple[int, int]]
  name: Callable[[int], str]
  identity: dict[str, Any]
  labels: np.ndarray | None = None
  class_names: Sequence[str] | None = None
  image_size: sizes.ImageSize | None = None

  def __len__(self) -> int:
    """Number of images."""
    return self.count

  @property
  def num_classes(self) -> int | None:
    """Number of classes; None if it is unknown."""
    return None if self.class_names is None else len(self.class_names)

  def size(self) -> tuple[int, int]:
    """Height and width of the first image; `check_sizes` requires it of all."""
    size = self.image_size
    return self.measure(0) if size is None else sizes.pair(size)

  def check_sizes(self) -> None:
    """Refuses images of different sizes, by the headers of their files.

    Raises:
      BrokenImageError: If a header cannot be read.
      ValueError: If images have different sizes, and `image_size` is None.
    """
    if self.image_size is not None:
      return
    first = self.measure(0)
    found = progress.in_threads(
        self.measure, range(len(self)), desc='sizes', unit=' images'
    )
    for index, size in enumerate(found):
      self._require(size, index, first)

  def described(self) -> dict[str, Any]:
    """All values that decide the images."""
    size = self.image_size
    return self.identity | {'image_size': size and sizes.pair(size)}

  def read(self, parts: Iterable[range]) -> Iterator[np.ndarray]:
    """Yields the images of each part, uint8[n, Y, X, 3].

    Raises:
      BrokenImageError: If an image cannot be read.
      ValueError: If images have different sizes, and `image_size` is None.
    """
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      waiting: list[tuple[range, list[futures.Future]]] = []
      for part in parts:
        waiting.append((part, [pool.submit(self._fitted, i) for i in part]))
        if len(waiting) > 1:  # One part is read ahead.
          yield self._stacked(*waiting.pop(0))
      for part, under_way in waiting:
        yield self._stacked(part, under_way)

  def _fitted(self, index: int) -> np.ndarray:
    image = self.decode(index)
    if self.image_size is None:
      return image
    return transforms.center(image, image_size=self.image_size)

  def _stacked(
      self, part: range, under_way: list[futures.Future]
  ) -> np.ndarray:
    images = [future.result() for future in under_way]
    # The first image of all decides, whichever part and process this is.
    first = images[0] if part.start == 0 else self._fitted(0)
    for index, image in zip(part, images, strict=True):
      self._require(image.shape[:2], index, first.shape[:2])
    return np.stack(images)

  def _require(
      self, size: tuple[int, int], index: int, first: tuple[int, int]
  ) -> None:
    """Refuses an image whose size is not that of the first image."""
    if size != first:
      raise ValueError(
          f'{self.flag} has images of different sizes: {self.name(0)} has'
          f' {sizes.text(first)} pixels, {self.name(index)}'
          f' {sizes.text(size)}. Set --image_size to resize and crop all of'
          ' them, as evaluations of rq_jax do.'
      )


def of_folder(
    path: epath.PathLike, *, flag: str, image_size: sizes.ImageSize | None
) -> Listed:
  """All images in a folder and below, in the order of folders and names.

  The folders directly in it are the classes, if there are several of them and
  all images lie in them.

  Args:
    path: The folder; it may be one that `sample --format=png` wrote.
    flag: The flag and value that name it, for errors.
    image_size: Size that images are resized and cropped to; None for no change.

  Raises:
    ValueError: If there is no image.
  """
  tree = index_lib.open_tree(str(path))
  folders = np.repeat(
      np.arange(len(tree.folders)), np.diff(tree.ends, prepend=0)
  )
  kept = np.array(
      [i for i, name in enumerate(tree.files) if name not in _NOT_IMAGES],
      np.int64,
  )
  if not len(kept):
    raise ValueError(
        f'{flag} contains no images: files with the endings'
        f' {", ".join(sorted(image_files.EXTENSIONS))}. Give another folder.'
    )
  reader = image_files.Reader()

  def where(index: int) -> str:
    file = int(kept[index])
    return os.path.join(
        str(path), tree.folders[int(folders[file])], tree.files[file]
    )

  tops = [folder.split('/')[0] for folder in tree.folders]
  names = sorted({tops[folder] for folder in folders[kept]})
  labels = None
  if len(names) > 1 and '' not in names:
    by_folder = np.array([names.index(t) if t in names else -1 for t in tops])
    labels = by_folder[folders[kept]].astype(np.int32)
  return Listed(
      flag=flag,
      count=len(kept),
      decode=lambda index: reader.read(where(index)),
      measure=lambda index: reader.size(where(index)),
      name=where,
      identity={
          'path': str(path),
          'images': len(kept),
          'files': tree.files.listing(tree.folders.data, tree.ends),
      },
      labels=labels,
      class_names=None if labels is None else names,
      image_size=image_size,
  )


def of_tar(
    path: epath.PathLike, *, flag: str, image_size: sizes.ImageSize | None
) -> Listed:
  """All images in a tar file, in their order in it; see `of_folder`.

  Raises:
    ValueError: If the tar file cannot be read, or has no image.
  """
  index = tar_index.scan(path)
  kept = np.array(
      [i for i, name in enumerate(index.names) if entries.is_image(name)],
      np.int64,
  )
  if not len(kept):
    raise ValueError(f'{flag} contains no images. Give another tar file.')
  reader = image_files.Reader()

  def name(number: int) -> str:
    return f'{path}/{index.names[int(kept[number])]}'

  return Listed(
      flag=flag,
      count=len(kept),
      decode=lambda i: reader.decode(index.read(int(kept[i])), name(i)),
      measure=lambda i: reader.size_of(index.read(int(kept[i])), name(i)),
      name=name,
      identity={
          'path': str(path),
          'images': len(kept),
          'files': index.names.listing(index.sizes),
      },
      image_size=image_size,
  )


def of_split(
    source: sources.Source,
    split: str,
    *,
    data: sections.Data,
    flag: str,
    image_size: sizes.ImageSize | None,
) -> Listed:
  """The images of a split of a dataset.

  Args:
    source: The opened split.
    split: Its name.
    data: The section `data` that it was opened with.
    flag: The flag and value that name it, for errors.
    image_size: Size that images are resized and cropped to; None for no change.
  """
  splits.check(split)
  reader = image_files.reader(data)

  def name(index: int) -> str:
    if isinstance(source, sources.ImageFiles):
      return source.name(index)
    return f'{split} {index}'

  def decode(index: int) -> np.ndarray:
    return np.asarray(source[index]['image'])

  def measure(index: int) -> tuple[int, int]:
    if isinstance(source, sources.ImageFiles):
      return reader.size_of(source.content(index), name(index))
    height, width, _ = decode(index).shape
    return height, width

  # Labels lie in the examples; reading all of them would decode all images.
  return Listed(
      flag=flag,
      count=len(source),
      decode=decode,
      measure=measure,
      name=name,
      identity={
          'path': data.path,
          'split': split,
          'images': len(source),
          'files': source.listing,
      },
      image_size=image_size,
  )
