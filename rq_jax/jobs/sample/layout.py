"""The files of a sampling job: the images, and chunks while it is unfinished.

  OUT/job.json                     description of the job; see `jobs.manifest`
  OUT/grid.png                     the first images, at most 100
  OUT/hashes.json                  hashes of all files; see `jobs.file_hashes`

and, depending on the format,

  png      OUT/000000.png ...      and labels.json, if there are labels
  shards   OUT/shard-00000-of-00005.npz ...
  npz      OUT/samples.npz

Archives hold `arr_0`, uint8[n, Y, X, 3], and, if there are labels, `arr_1`,
int32[n]. Their chunks are kept in OUT/parts/ until all are finished, and so are
the hashes of the files of each chunk. Every file appears whole or not at all.
Its bytes do not depend on when, where or in which order the files were written.
"""

from collections.abc import Callable
from concurrent import futures
import dataclasses
import functools
import json
import math
from typing import IO, Any
import zipfile

from etils import epath
import numpy as np
from PIL import Image

from rq_jax import files
from rq_jax import hashes as hashes_lib
from rq_jax.config import sizes
from rq_jax.jobs import file_hashes
from rq_jax.reports import pictures

FORMATS = ('png', 'shards', 'npz')
PARTS = 'parts'
GRID = 'grid.png'
LABELS = 'labels.json'

_ON_GRID = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
  """Maps the images of a job to files, and writes them.

  Chunk c starts with image c * chunk_size; shard s starts with image
  s * shard_size.

  Attributes:
    folder: Folder of all files.
    format: One of `FORMATS`.
    num_images: Number of images, N.
    image_size: Size of the images, Y, X; or one number for squares.
    chunk_size: Number of images that are computed and written at a time.
    shard_size: Number of images in a shard.
    labels: Classes of the images, int32[N]; None if they have no classes.
  """

  folder: epath.Path
  format: str
  num_images: int
  image_size: sizes.ImageSize
  chunk_size: int
  shard_size: int
  labels: np.ndarray | None = None

  @property
  def num_chunks(self) -> int:
    """Number of chunks."""
    return -(-self.num_images // self.chunk_size)

  def images_of(self, chunk: int) -> range:
    """Indices of the images of a chunk."""
    return self._range(chunk, self.chunk_size)

  @functools.cached_property
  def hashes(self) -> file_hashes.FileHashes:
    """The recorded hashes of the files."""
    return file_hashes.FileHashes(self.folder, (PARTS,))

  def finished(self) -> set[int]:
    """Chunks that are on disk, in OUT/parts/ or in their final files."""
    names = {file.name for file in self.folder.iterdir()}
    parts = self.folder / PARTS
    if parts.exists():
      names |= {f'{PARTS}/{part.name}' for part in parts.iterdir()}
    recorded = self.hashes.read()

    def are_there(wanted: list[str]) -> bool:
      return names.issuperset(wanted) and self.hashes.are_finished(
          wanted, recorded
      )

    return {
        chunk
        for chunk in range(self.num_chunks)
        if are_there([f'{PARTS}/{chunk:06d}.npy'])
        or are_there(self._names_of(chunk))
    }

  def missing_bytes(self) -> int:
    """Bytes that the missing chunks and archives will need.

    PNG files do not count, because their sizes are not known in advance.
    """
    if self.format == 'png':
      return 0
    missing = set(range(self.num_chunks)) - self.finished()
    archives = (n for n in range(self._num_files) if not self._file(n).exists())
    return sum(self._bytes(self.images_of(chunk)) for chunk in missing) + sum(
        self._bytes(self._range(number, self._per_file)) for number in archives
    )

  def write(
      self, chunk: int, images: np.ndarray, pool: futures.Executor
  ) -> None:
    """Writes a finished chunk.

    Args:
      chunk: Number of the chunk.
      images: Images of the chunk, uint8[n, Y, X, 3].
      pool: Threads that compress PNG files.
    """
    if self.format == 'png':
      self.hashes.record(chunk, self._write_pngs(chunk, images, pool))
      return
    (self.folder / PARTS).mkdir(exist_ok=True)
    hashed = file_hashes.write_array(self._part(chunk), images)
    self.hashes.record(chunk, {f'{PARTS}/{self._part(chunk).name}': hashed})

  def complete(self) -> bool:
    """Whether all final files exist, and no temporary ones."""
    there = {file.name for file in self.folder.iterdir()}
    left = any(name == PARTS or name.endswith(files.PARTIAL) for name in there)
    needed = self._final_names()
    return there.issuperset(needed) and not left and self.hashes.has(needed)

  def finish(self, check: Callable[[], None]) -> None:
    """Joins chunks into archives, and writes all other files.

    All chunks must be finished. Existing archives are kept. Chunks are removed
    when all archives exist and have a hash.

    Args:
      check: Called regularly. If it raises, finished files and chunks stay.
    """
    if self.format != 'png':
      for number in range(self._num_files):
        if not self._file(number).exists():
          self._join(number, check)
    elif self.labels is not None:
      with files.whole(self.folder / LABELS) as file:
        file.write(json.dumps(self.labels.tolist()).encode())
    first = self._first(min(self.num_images, _ON_GRID))
    grid = pictures.grid(first, math.ceil(math.sqrt(len(first))))
    pictures.write_png(self.folder / GRID, grid)
    self.hashes.finish(self._final_names(), written=(GRID, LABELS))
    (self.folder / PARTS).rmtree(missing_ok=True)
    # Unfinished files of processes that were killed.
    for partial in self.folder.glob(f'*{files.PARTIAL}'):
      partial.unlink(missing_ok=True)

  @property
  def _per_file(self) -> int:
    sizes = {'png': 1, 'shards': self.shard_size, 'npz': self.num_images}
    return sizes[self.format]

  @property
  def _num_files(self) -> int:
    return -(-self.num_images // self._per_file)

  def _bytes(self, images: range) -> int:
    return len(images) * math.prod(sizes.pair(self.image_size)) * 3

  def _range(self, number: int, size: int) -> range:
    return range(number * size, min((number + 1) * size, self.num_images))

  def _part(self, chunk: int) -> epath.Path:
    return self.folder / PARTS / f'{chunk:06d}.npy'

  def _file(self, number: int) -> epath.Path:
    return self.folder / self._name(number)

  @functools.cached_property
  def _recorded_before(self) -> dict[str, str]:
    """The hashes from before this process wrote its first chunk."""
    return self.hashes.read()

  def _names_of(self, chunk: int) -> list[str]:
    """Names of the final files that hold images of a chunk."""
    images = self.images_of(chunk)
    first, last = (i // self._per_file for i in (images[0], images[-1]))
    return [self._name(number) for number in range(first, last + 1)]

  def _final_names(self) -> list[str]:
    """Names of all files of a complete job, except for JSON about the job."""
    names = [self._name(number) for number in range(self._num_files)]
    if self.format == 'png' and self.labels is not None:
      names.append(LABELS)
    return [*names, GRID]

  def _name(self, number: int) -> str:
    shard = f'shard-{number:05d}-of-{self._num_files:05d}.npz'
    names = {'png': f'{number:06d}.png', 'shards': shard, 'npz': 'samples.npz'}
    return names[self.format]

  def _write_pngs(
      self, chunk: int, images: np.ndarray, pool: futures.Executor
  ) -> dict[str, str]:
    """Writes the images of a chunk that are missing; returns all hashes."""
    recorded = self._recorded_before

    def write(name: str, image: np.ndarray) -> str:
      if name in recorded and (self.folder / name).exists():
        return recorded[name]
      content = pictures.png_bytes(image)
      with files.whole(self.folder / name, needs=len(content)) as file:
        file.write(content)
      return hashes_lib.new(content).hexdigest()

    names = self._names_of(chunk)
    try:
      # `list` re-raises exceptions of the threads.
      return dict(zip(names, list(pool.map(write, names, images))))
    except files.DiskFullError as error:
      there = sum(self._file(n).exists() for n in range(self.num_images))
      # An estimate: the sizes of the missing files may differ.
      needs = (error.needs or 0) * (self.num_images - there)
      raise files.DiskFullError(self.folder, needs) from error

  def _join(self, number: int, check: Callable[[], None]) -> None:
    """Writes an archive from the chunks that overlap it, one after another."""
    images = self._range(number, self._per_file)
    shape = (len(images), *sizes.pair(self.image_size), 3)
    with (
        files.whole(self._file(number), needs=self._bytes(images)) as file,
        zipfile.ZipFile(file, 'w') as archive,
    ):
      with _open_array(archive, 'arr_0', np.uint8, shape) as array:
        last = images[-1] // self.chunk_size
        for chunk in range(images[0] // self.chunk_size, last + 1):
          check()
          with self._part(chunk).open('rb') as part:
            pixels = np.load(part)
          start = chunk * self.chunk_size
          begin = max(images.start - start, 0)
          array.write(pixels[begin : images.stop - start].tobytes())
      if self.labels is not None:
        labels = self.labels[images.start : images.stop].astype('<i4')
        with _open_array(archive, 'arr_1', '<i4', labels.shape) as array:
          array.write(labels.tobytes())

  def _first(self, count: int) -> np.ndarray:
    """The first images, read from their files: uint8[count, Y, X, 3]."""
    found: list[np.ndarray] = []
    while len(found) < count:
      file = self._file(len(found) // self._per_file)
      if self.format == 'png':
        with file.open('rb') as stream:
          found.append(np.asarray(Image.open(stream, formats=('PNG',))))
      else:
        found.extend(_head(file, count - len(found)))
    return np.stack(found)


def _open_array(
    archive: zipfile.ZipFile, name: str, dtype: Any, shape: tuple[int, ...]
) -> IO[bytes]:
  """Starts an array in an archive, in the way of `np.savez`.

  Entries that are opened by name have the date 1980-01-01.
  """
  entry = archive.open(f'{name}.npy', 'w', force_zip64=True)
  entry.write(files.npy_header(dtype, shape))
  return entry


def _head(path: epath.Path, count: int) -> np.ndarray:
  """The first `count` images of an archive; reads no others."""
  with (
      path.open('rb') as file,
      zipfile.ZipFile(file) as archive,
      archive.open('arr_0.npy') as entry,
  ):
    np.lib.format.read_magic(entry)
    shape, _, dtype = np.lib.format.read_array_header_1_0(entry)
    shape = (min(count, shape[0]), *shape[1:])
    return np.frombuffer(entry.read(math.prod(shape)), dtype).reshape(shape)
