"""Takes the checkpoints out of an archive as the authors released them.

Of `NAME/stage1/model.pt`, `NAME/stage1/config.yaml` and the same of `stage2`,
what is there is written, under names of ours: no name in the archive is ever a
path on this machine. Other files are passed over. Links, devices and names that
lead elsewhere do not occur in a release, so an archive with one is refused.
"""

from collections.abc import Callable, Iterator
import gzip
import io
import os
import pathlib
import shutil
import tarfile

STAGES = ('stage1', 'stage2')
FILES = ('model.pt', 'config.yaml')

# A config has one or two KiB, a release some ten members.
MAX_CONFIG = 2**20
MAX_MEMBERS = 1000
_CHUNK = 2**20
_BLOCK = 512
_GZIP = b'\x1f\x8b'

_AGAIN = 'Download or copy it again'
_LIMIT = 'No release has so many; raise the limit if you trust it'


def is_archive(path: str | os.PathLike) -> bool:
  """Whether a file starts like a .tar.gz or .tar file, whatever its name."""
  with open(path, 'rb') as file:
    head = file.read(_BLOCK)
  return head.startswith(_GZIP) or head[257:262] == b'ustar'


def extract(
    path: str | os.PathLike,
    folder: pathlib.Path,
    *,
    limit: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
  """Writes `stage1/model.pt` and so on into a folder.

  Args:
    path: A .tar file, or a .tar.gz file.
    folder: Where to; it exists and is empty.
    limit: How many bytes the archive may have, decompressed.
    progress: Is told how many bytes of the file were read, and of how many.

  Raises:
    ValueError: If the archive is damaged, or holds what no release does.
  """
  size = os.path.getsize(path)
  try:
    with open(path, 'rb') as raw:
      packed = raw.read(len(_GZIP)) == _GZIP
      raw.seek(0)
      stream = gzip.GzipFile(fileobj=raw) if packed else raw
      forward = _Forward(stream, limit)
      for member, target in _wanted(forward):
        for _ in _write(member, forward, folder / target, limit):
          if progress is not None:
            progress(raw.tell(), size)
      # Only at its end is a compressed file compared with its checksum.
      while forward.read(_CHUNK):
        pass
    if progress is not None:
      progress(size, size)
  except _RefusedError as refusal:
    raise ValueError(f'{path} {refusal}') from None
  # What tarfile and zlib make of damage differs from one Python to the next.
  except Exception as error:
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
      raise  # Of the disk, not of the archive.
    raise ValueError(
        f'{path} is damaged, or no .tar or .tar.gz file: {error}. Download it'
        ' again.'
    ) from error


class _RefusedError(Exception):
  """What is wrong with an archive, to follow its path, and what to do."""

  def __init__(self, what: str, advice: str = ''):
    advice = advice or (
        'Give an archive as the authors released it, or a folder with stage1 or'
        ' stage2 in it'
    )
    super().__init__(f'{what}. {advice}.')


class _Forward:
  """The decompressed bytes of an archive, read forward and in small pieces.

  `tarfile` alone would read a header of any length into memory, go back to
  where it was before, and pass over a member of any size.
  """

  def __init__(self, stream: io.BufferedIOBase, limit: int):
    self.last = b''
    self._stream = stream
    self._limit = limit
    self._position = 0

  def tell(self) -> int:
    """Bytes read so far."""
    return self._position

  def seek(self, position: int) -> None:
    """Reads up to a position, or to the end."""
    if position < self._position:
      raise _RefusedError('leads back to a part of itself')
    while self._position < position:
      if not self.read(min(_CHUNK, position - self._position)):
        return

  def read(self, size: int) -> bytes:
    """Up to `size` bytes; fewer only at the end."""
    if not 0 <= size <= _CHUNK:
      raise _RefusedError(f'has a header of {size} bytes')
    self.last = self._stream.read(size)
    self._position += len(self.last)
    if self._position > self._limit:
      raise _RefusedError(
          f'has more than {self._limit} bytes once it is decompressed', _LIMIT
      )
    return self.last


def _wanted(forward: _Forward) -> Iterator[tuple[tarfile.TarInfo, str]]:
  """The checkpoints and configs, each with the path to write it to."""
  seen, roots = set(), set()
  with tarfile.TarFile(fileobj=forward, mode='r') as archive:  # type: ignore[arg-type]  # A stream in all that is used.
    for count, member in enumerate(archive):
      parts = _parts(member)
      if count >= MAX_MEMBERS:
        raise _RefusedError(f'has more than {MAX_MEMBERS} members')
      if member.isdir() or not 2 <= len(parts) <= 3:
        continue
      root, (stage, file) = parts[:-2], parts[-2:]
      if stage not in STAGES or file not in FILES:
        continue
      roots.add(root)
      if (stage, file) in seen or len(roots) > 1:
        raise _RefusedError(f'holds several files {stage}/{file}, or models')
      if file == 'config.yaml' and member.size > MAX_CONFIG:
        raise _RefusedError(f'has a config.yaml of {member.size} bytes')
      seen.add((stage, file))
      yield member, f'{stage}/{file}'
  if forward.last != bytes(_BLOCK):
    raise _RefusedError('is cut off: its end is missing', _AGAIN)


def _parts(member: tarfile.TarInfo) -> tuple[str, ...]:
  """The parts of a member's name, if it is a plain file or a folder."""
  shown = ascii(member.name[:80])
  regular = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
  if not (regular or member.isdir()) or member.issparse():
    raise _RefusedError(f'holds a link, a device or the like, {shown}')
  parts = pathlib.PurePosixPath(member.name).parts
  if member.name.startswith('/') or '..' in parts or '\\' in member.name:
    raise _RefusedError(f'holds a file that would lie outside of it, {shown}')
  return parts


def _write(
    member: tarfile.TarInfo, forward: _Forward, target: pathlib.Path, limit: int
) -> Iterator[None]:
  """Copies a member to a new file, piece by piece."""
  forward.seek(member.offset_data)
  if forward.tell() + member.size > limit:
    raise _RefusedError(
        f'holds a file of {member.size} bytes; {limit} are the limit for all',
        _LIMIT,
    )
  target.parent.mkdir(exist_ok=True)
  free = shutil.disk_usage(target.parent).free
  if free < member.size:
    raise _RefusedError(
        f'needs {member.size} bytes in {target.parent.parent}, and {free} are'
        ' free',
        'Make room, or choose another folder for temporary files',
    )
  with open(target, 'xb') as file:
    remaining = member.size
    while remaining:
      data = forward.read(min(_CHUNK, remaining))
      if not data:
        raise _RefusedError('is cut off within a file', _AGAIN)
      file.write(data)
      remaining -= len(data)
      yield
