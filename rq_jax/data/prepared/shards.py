"""The ArrayRecord files of a split: their names, their rows and their writer.

Shard s of S covers the rows from N * s // S up to, but not including,
N * (s + 1) // S of the origin's N examples. It contains fewer records if some
examples were refused.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import errno
import hashlib
import importlib
import os
import pathlib
from typing import Any

from etils import epath

from rq_jax import files
from rq_jax import hashes

SHARD_BYTES = 2**29  # About the size of a shard.

# JPEG, PNG and WebP files do not become smaller. Every record must be a group
# of its own, so that it can be read without its neighbours.
_WRITING = 'group_size:1,uncompressed'

_END = 2**16  # Bytes; see `hash_of_ends`.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
  """A split of a dataset, and the files that hold it.

  Attributes:
    folder: Folder of the dataset.
    dataset: Name of the dataset, the first part of file names.
    name: Name of the split, such as 'train'.
    num_rows: Number of examples of the origin, N.
    num_shards: Number of files, S; see `count`.
  """

  folder: pathlib.Path
  dataset: str
  name: str
  num_rows: int
  num_shards: int

  def rows(self, shard: int) -> range:
    """The rows of the origin that a shard covers."""
    start, stop = self.num_rows * shard, self.num_rows * (shard + 1)
    return range(start // self.num_shards, stop // self.num_shards)

  def file(self, shard: int) -> pathlib.Path:
    """The path of a shard."""
    return self.folder / (
        f'{self.dataset}-{self.name}.array_record'
        f'-{shard:05d}-of-{self.num_shards:05d}'
    )


def count(num_examples: int, num_bytes: int) -> int:
  """Number of shards of about `SHARD_BYTES` that hold a split; at least one."""
  return max(1, min(round(num_bytes / SHARD_BYTES), num_examples))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
  """What was written to a shard.

  Attributes:
    examples: Number of records.
    content_bytes: Bytes of all records.
    file_bytes: Bytes of the file.
    sha256: SHA-256 of the file.
    ends: Hash of the first and the last bytes of the file; see `hash_of_ends`.
      None in older datasets.
  """

  examples: int
  content_bytes: int
  file_bytes: int
  sha256: str
  ends: str | None = None


class Writer:
  """Writes one shard, record by record.

  The file has a temporary name until it was read back; see `writing`.
  """

  def __init__(self, partial: pathlib.Path):
    """Creates the file under its temporary name."""
    self._partial = partial
    self._digest = _Digest()
    self._file = _module().ArrayRecordWriter(str(partial), _WRITING)

  def write(self, record: bytes) -> None:
    """Appends a record."""
    self._file.write(record)
    self._digest.add(record)

  def close(self) -> Written:
    """Finishes the file, and reads it back.

    Raises:
      OSError: If the file does not hold the records that were written.
    """
    self._file.close()
    with self._partial.open('rb') as file:
      os.fsync(file.fileno())
      size = os.fstat(file.fileno()).st_size
    found = _read_back(self._partial)
    if found.state() != self._digest.state():
      raise OSError(
          f'{self._partial} was written with {self._digest.count} records, but'
          ' other contents were read back. The disk or the memory of this'
          ' machine may be faulty. Choose another --out or another machine.'
      )
    return Written(
        examples=found.count,
        content_bytes=found.size,
        file_bytes=size,
        sha256=hashes.of_file(self._partial, hashlib.sha256),
        ends=hash_of_ends(self._partial),
    )

  def discard(self) -> None:
    """Closes and removes the unfinished file."""
    with contextlib.suppress(Exception):  # It may be closed, or the disk full.
      self._file.close()
    self._partial.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(
    path: pathlib.Path, *, needs: int | None = None
) -> Iterator[Writer]:
  """Opens a writer; afterwards, the file gets its final name.

  Call `close` within the `with` block. An error leaves nothing behind.

  Args:
    path: The final path of the shard.
    needs: About the bytes that the shard needs, for the error; None if unknown.

  Raises:
    files.DiskFullError: If the disk becomes full.
    OSError: If the file cannot be written for another reason.
  """
  partial = path.with_name(path.name + files.PARTIAL)
  partial.unlink(missing_ok=True)
  with files.naming_a_full_disk(path, needs=needs):
    writer = Writer(partial)
    try:
      yield writer
      os.replace(partial, path)
    except BaseException as error:
      writer.discard()
      # The library raises this for all errors of the file system.
      if isinstance(error, RuntimeError) and str(partial) in str(error):
        raise OSError(errno.EIO, str(error), str(path)) from error
      raise


def hash_of_ends(path: epath.PathLike) -> str:
  """The hash of the first and the last 64 KiB of a file.

  It shows at once whether a file is another one. Damage in between is found by
  the hashes that the format has of each record, when the record is read.
  """
  with epath.Path(path).open('rb') as file:
    hashed = hashes.new(file.read(_END))
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END))
    hashed.update(file.read())
  return hashed.hexdigest()


class _Digest:
  """Number, size and hash of records."""

  def __init__(self):
    self.count = self.size = 0
    self._hash = hashlib.sha256()

  def add(self, record: bytes) -> None:
    self.count += 1
    self.size += len(record)
    self._hash.update(len(record).to_bytes(8, 'little'))
    self._hash.update(record)

  def state(self) -> tuple[int, int, str]:
    return self.count, self.size, self._hash.hexdigest()


def _read_back(path: pathlib.Path) -> _Digest:
  """Reads all records of a file in order."""
  digest = _Digest()
  reader = _module().ArrayRecordReader(str(path))
  try:
    for _ in range(reader.num_records()):
      digest.add(reader.read())
  except RuntimeError as error:  # A hash in the file is wrong.
    raise OSError(
        f'{path} cannot be read back ({error}). The disk or the memory of this'
        ' machine may be faulty. Choose another --out or another machine.'
    ) from error
  finally:
    with contextlib.suppress(RuntimeError):  # It repeats the error.
      reader.close()
  return digest


def _module() -> Any:
  """The package array_record, which is written in C++ and has no types."""
  return importlib.import_module('array_record.python.array_record_module')
