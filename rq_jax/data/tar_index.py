"""Random access to the files in a tar file, by one scan of its headers.

A tar file has no table of contents: headers and contents alternate. `scan`
reads all headers once and stores an index beside the tar file. Later scans read
this index, unless the tar file has changed since.
"""

import array
from collections.abc import Iterator
import dataclasses
import tarfile
from typing import IO, Any, cast

from etils import epath
import numpy as np

from rq_jax.data import file_names
from rq_jax.data import tar_files
from rq_jax.data.tar_files import Tar

# Kind of the stored index; see `tar_files.store`.
_KIND = 'index'
_BLOCK = 512
_CHUNK = 2**20
# First bytes of compressed files, and programs that decompress them.
_COMPRESSED = (
    (b'\x1f\x8b', 'gunzip'),
    (b'BZh', 'bunzip2'),
    (b'\xfd7zXZ\x00', 'unxz'),
    (b'\x28\xb5\x2f\xfd', 'unzstd'),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Index:
  """The regular files in a tar file, in their order in it.

  Attributes:
    tar: The tar file.
    names: Names of the files, with their folders.
    offsets: Where the content of each file begins in the tar file, int64[N].
    sizes: Bytes of each content, int64[N].
  """

  tar: Tar
  names: file_names.Packed
  offsets: np.ndarray
  sizes: np.ndarray

  def __len__(self) -> int:
    """Number of files."""
    return len(self.offsets)

  def read(self, index: int) -> bytes:
    """The content of a file; see `Tar.read`."""
    return self.tar.read(int(self.offsets[index]), int(self.sizes[index]))


def scan(
    path: epath.PathLike, *, nested: bool = False, keep: bool = True
) -> Index:
  """Indexes a tar file, or reads its stored index.

  Args:
    path: The tar file. It must be local and not compressed. Names in the
      formats of PAX and GNU tar may have any length.
    nested: Whether to index the files in tar files inside the tar file, too. A
      name is then 'INNER.tar/NAME'.
    keep: Whether to read and write the stored index.

  Raises:
    ValueError: If the file is missing, compressed, cut off or damaged, or if it
      contains sparse files, links or devices.
  """
  tar = Tar.at(path)
  kind = f'nested_{_KIND}' if nested else _KIND
  fields = tar_files.stored(tar, kind) if keep else None
  if fields is None:
    fields = _read_headers(tar, nested)
    if keep:
      tar_files.store(tar, kind, fields)
  return Index(
      tar=tar,
      names=file_names.restored(fields, 'names'),
      offsets=fields['offsets'],
      sizes=fields['sizes'],
  )


def _read_headers(tar: Tar, nested: bool) -> dict[str, np.ndarray]:
  """Arrays of an index: those of 'names', 'offsets', 'sizes'."""
  names = file_names.Packer()
  offsets, sizes = array.array('q'), array.array('q')
  with tar_files.open_tar(tar) as file:
    for name, offset, size in _members(file, tar.path, 0, tar.size, nested):
      names.add([name])
      offsets.append(offset)
      sizes.append(size)
  return {
      **names.pack().arrays('names'),
      'offsets': np.array(offsets, np.int64),
      'sizes': np.array(sizes, np.int64),
  }


def _members(
    file: IO[bytes], where: str, start: int, end: int, nested: bool
) -> Iterator[tuple[str, int, int]]:
  """Yields (name, offset, size) of the regular files between two positions."""
  _check_uncompressed(file, where, start)
  file.seek(start)
  last = 'none'
  with _open(file, where) as opened:
    while (member := _next(opened, where, last)) is not None:
      name = file_names.shown(member.name)
      if not start <= member.offset < member.offset_data <= end:
        raise _damaged(where, last, f'the header of {name} is wrong')
      start = member.offset_data
      if member.size < 0 or start + member.size > end:
        raise _damaged(where, last, f'{name} is cut off')
      if member.isdir():
        continue
      _check_plain(member, where)
      last = name
      if nested and name.endswith('.tar'):
        inside = f'{where}/{name}'
        for inner, offset, size in _members(
            file, inside, start, start + member.size, False
        ):
          yield f'{member.name}/{inner}', offset, size
      else:
        yield member.name, start, member.size
    _check_end(file, where, opened.offset, end, last)


def _open(file: IO[bytes], where: str) -> tarfile.TarFile:
  """Opens a tar file at the current position of `file`."""
  try:  # This reads the first header.
    return tarfile.open(
        fileobj=file, mode='r:', encoding='utf-8', errors='surrogateescape'
    )
  # tarfile raises errors of many types for damaged headers.
  except Exception as error:
    raise _damaged(where, 'none', str(error)) from error


def _next(
    opened: tarfile.TarFile, where: str, last: str
) -> tarfile.TarInfo | None:
  """The next header; None at the end, or if the header is damaged."""
  try:
    member = opened.next()
  except Exception as error:
    raise _damaged(where, last, str(error)) from error
  # tarfile keeps all headers, which would fill the memory. Its types do not
  # declare the attribute.
  cast(Any, opened).members.clear()
  return member


def _check_uncompressed(file: IO[bytes], where: str, start: int) -> None:
  file.seek(start)
  begin = file.read(_BLOCK)
  for magic, program in _COMPRESSED:
    if begin.startswith(magic):
      raise ValueError(
          f'{where} is compressed, so its files cannot be read one by one.'
          f' Decompress it with {program}.'
      )


def _check_plain(member: tarfile.TarInfo, where: str) -> None:
  if member.issparse():
    what, mend = 'a sparse file', 'without --sparse'
  elif not member.isreg():
    what = 'a link, a device or a FIFO'
    mend = 'with --dereference --hard-dereference'
  else:
    return
  raise ValueError(
      f'{where} contains {file_names.shown(member.name)}, which is {what}. Only'
      f' regular files can be read from tar files. Pack the files again {mend}.'
  )


def _check_end(
    file: IO[bytes], where: str, position: int, end: int, last: str
) -> None:
  """Checks that a tar file has an end, and that nothing follows it."""
  file.seek(position)
  block = file.read(min(_BLOCK, end - position))
  if len(block) < _BLOCK:
    raise ValueError(
        f'{where} has no end: it was cut off after {last}, its last whole file,'
        ' or was never finished. Copy or download it again. If it is whole,'
        ' add the end with truncate --size=+1024.'
    )
  if any(block):
    raise _damaged(where, last, 'the next header cannot be read')
  left = end - position - len(block)
  while left > 0 and (chunk := file.read(min(left, _CHUNK))):
    if chunk.count(0) != len(chunk):
      raise ValueError(
          f'{where} continues after its end, which follows {last}. Perhaps'
          ' several tar files were joined. Join them with tar --concatenate'
          ' instead.'
      )
    left -= len(chunk)


def _damaged(where: str, last: str, reason: str) -> ValueError:
  return ValueError(
      f'{where} is cut off or damaged: {reason}. The last whole file in it is'
      f' {last}. Copy or download it again.'
  )
