"""Extracts the checkpoints from an archive of the authors' releases.

It extracts `NAME/stage1/model.pt`, `NAME/stage1/config.yaml` and the same files
of `stage2`, if they exist, to fixed names: no name in the archive ever becomes
a path on this machine. Other files are skipped. Releases contain no links,
devices or names that lead out of the archive, so an archive with any of them is
refused.
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

# A config has one or two KiB, and a release has about ten members.
MAX_CONFIG = 2**20
MAX_MEMBERS = 1000
_CHUNK = 2**20
_BLOCK = 512
_GZIP = b'\x1f\x8b'

_AGAIN = 'Download or copy it again'
_LIMIT = (
    'No release is so large. If you trust it, unpack it and give the folder'
)


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
  """Extracts `stage1/model.pt` and so on to a folder.

  Args:
    path: A .tar file, or a .tar.gz file.
    folder: Folder to write to; it exists and is empty.
    limit: Largest size of the archive, in bytes after decompression.
    progress: Called with the number of bytes read from the file so far, and
      with their total.

  Raises:
    ValueError: If the archive is damaged, or differs from a release, for
      example by a link.
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
      # gzip compares the checksum only at the end of the file.
      while forward.read(_CHUNK):
        pass
    if progress is not None:
      progress(size, size)
  except _RefusedError as refusal:
    raise ValueError(f'{path} {refusal}') from None
  # The errors of tarfile and zlib for damage differ between Python versions.
  except Exception as error:
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
      raise  # An error of the disk, not of the archive.
    raise ValueError(
        f'{path} is damaged, or not a .tar or .tar.gz file: {error}.'
        f' {_AGAIN}.'
    ) from error


class _RefusedError(Exception):
  """A problem of an archive and advice, to be put after its path."""

  def __init__(self, what: str, advice: str = ''):
    advice = advice or (
        'Give an archive as the authors released it, or a folder with stage1 or'
        ' stage2 in it'
    )
    super().__init__(f'{what}. {advice}.')


class _Forward:
  """The decompressed bytes of an archive, read forward and in small pieces.

  Without this, `tarfile` would read a header of any length into memory, seek
  backwards, and skip over a member of any size.
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
          f'has more than {self._limit} bytes after decompression', _LIMIT
      )
    return self.last


def _wanted(forward: _Forward) -> Iterator[tuple[tarfile.TarInfo, str]]:
  """The checkpoints and configs, each with the path to write it to."""
  seen, roots = set(), set()
  with tarfile.TarFile(fileobj=forward, mode='r') as archive:  # type: ignore[arg-type]  # tarfile uses only the methods that it has.
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
        raise _RefusedError(
            f'holds several files {stage}/{file}, or several models'
        )
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
    raise _RefusedError(f'holds a link, a device or the like: {shown}')
  parts = pathlib.PurePosixPath(member.name).parts
  if member.name.startswith('/') or '..' in parts or '\\' in member.name:
    raise _RefusedError(f'holds a file that would lie outside of it: {shown}')
  return parts


def _write(
    member: tarfile.TarInfo, forward: _Forward, target: pathlib.Path, limit: int
) -> Iterator[None]:
  """Copies a member to a new file, piece by piece."""
  forward.seek(member.offset_data)
  if forward.tell() + member.size > limit:
    raise _RefusedError(
        f'holds a file of {member.size} bytes, but at most {limit} bytes are'
        ' allowed for all files',
        _LIMIT,
    )
  target.parent.mkdir(exist_ok=True)
  free = shutil.disk_usage(target.parent).free
  if free < member.size:
    raise _RefusedError(
        f'needs {member.size} bytes in {target.parent.parent}, and {free} are'
        ' free',
        'Free some space, or choose --dst on another disk',
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
