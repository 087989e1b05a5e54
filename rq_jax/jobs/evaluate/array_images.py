"""Images in .npz files, as ADM, `sample --format=npz` and others write them."""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import math
from typing import IO, Any
import zipfile

from etils import epath
import numpy as np

from rq_jax.config import sizes
from rq_jax.data import transforms

IMAGES = 'arr_0'
_LABELS = 'arr_1'


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Array:
  """Rows of `arr_0` in a file.

  Attributes:
    path: The file.
    shape: N, Y, X, 3.
    crc: CRC-32 and compressed bytes of the array, from the table of contents.
  """

  path: epath.Path
  shape: tuple[int, ...]
  crc: tuple[int, int]


class Arrays:
  """The images of .npz files, one file after the other; see `ImageSet`.

  Reads only the images of a part at a time, so the files may be larger than the
  memory.

  Attributes:
    labels: `arr_1` of all files, int32[N]; None if a file has no such array.
    class_names: None.
  """

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
    self._files = [_open(epath.Path(path), flag) for path in paths]
    first = self._files[0]
    for file in self._files:
      if file.shape[1:] != first.shape[1:]:
        raise ValueError(
            f'{flag} has images of different sizes: {first.path} of'
            f' {sizes.text(first.shape[1:3])} pixels, {file.path} of'
            f' {sizes.text(file.shape[1:3])}. Evaluate them one by one.'
        )
    self._ends = np.cumsum([file.shape[0] for file in self._files])
    self._flag = flag
    self.labels = _labels(self._files)

  def __len__(self) -> int:
    """Number of images."""
    return int(self._ends[-1])

  def described(self) -> dict[str, Any]:
    """All values that decide the images."""
    size = self._image_size
    return {
        'path': str(self._files[0].path),
        'images': len(self),
        'crc': [file.crc for file in self._files],
        'image_size': size and sizes.pair(size),
    }

  def read(self, parts: Iterable[range]) -> Iterator[np.ndarray]:
    """Yields the images of each part, uint8[n, Y, X, 3].

    Raises:
      ValueError: If a file is damaged.
    """
    with contextlib.ExitStack() as stack:
      opened: dict[int, _Rows] = {}
      for part in parts:
        found = []
        for number, rows in self._pieces(part):
          if number not in opened:
            stack.close()  # Parts come in order: other files are not needed.
            rows_of = _Rows(self._files[number], self._flag)
            opened = {number: stack.enter_context(contextlib.closing(rows_of))}
          found.append(opened[number].read(rows))
        yield self._fitted(np.concatenate(found))

  def _pieces(self, part: range) -> Iterator[tuple[int, range]]:
    """The files of a part, and the rows in each of them."""
    for number, end in enumerate(self._ends.tolist()):
      start = end - self._files[number].shape[0]
      rows = range(max(part.start, start) - start, min(part.stop, end) - start)
      if len(rows):
        yield number, rows

  def _fitted(self, images: np.ndarray) -> np.ndarray:
    size = self._image_size
    if size is None or images.shape[1:3] == sizes.pair(size):
      return images
    return np.stack([transforms.center(i, image_size=size) for i in images])


class _Rows:
  """Reads rows of one array; going back starts again at its beginning."""

  def __init__(self, file: _Array, flag: str):
    self._shape, self._where = file.shape, f'{flag}: {file.path}'
    with _reworded(self._where), contextlib.ExitStack() as stack:
      stream = stack.enter_context(file.path.open('rb'))
      archive = stack.enter_context(zipfile.ZipFile(stream))
      self._entry = stack.enter_context(archive.open(f'{IMAGES}.npy'))
      _header(self._entry)
      self._begin = self._entry.tell()
      self._stack = stack.pop_all()

  def close(self) -> None:
    self._stack.close()

  def read(self, rows: range) -> np.ndarray:
    row = math.prod(self._shape[1:])
    with _reworded(self._where):
      self._entry.seek(self._begin + rows.start * row)
      content = self._entry.read(len(rows) * row)
      pixels = np.frombuffer(content, np.uint8)
      return pixels.reshape(len(rows), *self._shape[1:])


def arrays_in(path: epath.PathLike) -> list[str]:
  """Names of the arrays in a .npz file; empty if it is no such file."""
  try:
    with epath.Path(path).open('rb') as file, zipfile.ZipFile(file) as archive:
      return [name.removesuffix('.npy') for name in archive.namelist()]
  except (zipfile.BadZipFile, OSError):
    return []


def _open(path: epath.Path, flag: str) -> _Array:
  where = f'{flag}: {path}'
  with (
      _reworded(where),
      path.open('rb') as file,
      zipfile.ZipFile(file) as archive,
  ):
    if f'{IMAGES}.npy' not in archive.namelist():
      raise ValueError(
          f'{where} has no array {IMAGES} with images, but'
          f' {", ".join(archive.namelist()) or "nothing"}. Give another file.'
      )
    info = archive.getinfo(f'{IMAGES}.npy')
    with archive.open(info) as entry:
      shape, fortran, dtype = _header(entry)
  if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or fortran:
    raise ValueError(
        f'{where}: {IMAGES} is {dtype}{list(shape)}, but must be'
        ' uint8[N, Y, X, 3] in C order. Convert it.'
    )
  if not shape[0]:
    raise ValueError(f'{where} has no images. Give another file.')
  if info.file_size < math.prod(shape):
    raise ValueError(f'{where} is damaged: {IMAGES} is too short.')
  return _Array(path=path, shape=shape, crc=(info.CRC, info.compress_size))


def _header(entry: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
  version = np.lib.format.read_magic(entry)
  if version == (1, 0):
    return np.lib.format.read_array_header_1_0(entry)
  return np.lib.format.read_array_header_2_0(entry)


def _labels(files: Sequence[_Array]) -> np.ndarray | None:
  found = []
  for file in files:
    if _LABELS not in arrays_in(file.path):
      return None
    with file.path.open('rb') as stream, np.load(stream) as arrays:
      labels = arrays[_LABELS]
    if labels.shape != file.shape[:1] or labels.dtype.kind not in 'iu':
      return None  # Other programs store other things there.
    found.append(labels.astype(np.int32))
  return np.concatenate(found)


@contextlib.contextmanager
def _reworded(where: str) -> Iterator[None]:
  """Converts errors of damaged files to errors that name the file."""
  try:
    yield
  except (zipfile.BadZipFile, EOFError, OSError, zipfile.zlib.error) as error:
    raise ValueError(
        f'{where} cannot be read as a .npz file ({error}). Copy it again, or'
        ' give another file.'
    ) from error
