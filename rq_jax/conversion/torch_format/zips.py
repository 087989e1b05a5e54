"""Finds the files inside of a PyTorch archive.

`torch.save` writes a zip file whose members are stored without compression, so
each is a range of the file and cannot grow when it is read. Python's `zipfile`
also accepts comments, bytes before the archive, and members that overlap or
share a name; these are refused here. Compressed members are marked.
"""

from collections.abc import Iterator
import dataclasses
import os
import struct

# Each tensor takes about 100 bytes; the largest official model has a thousand.
MAX_DIRECTORY = 16 * 2**20

_END = struct.Struct('<4s4H2LH')
_END64_LOCATOR = struct.Struct('<4sLQL')
_END64 = struct.Struct('<4sQ2H2L4Q')
_ENTRY = struct.Struct('<4s6H3L5H2L')
_LOCAL = struct.Struct('<4s5H3L2H')
_ENCRYPTED = 1
_IN_ZIP64 = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class Member:
  """A file inside of an archive: `size` bytes from byte `start` on.

  Attributes:
    start: Position of its data in the archive, in bytes.
    size: Size of its data in the archive, in bytes.
    crc: Checksum of its contents; None if the archive has no checksums.
    stored: Whether the data are the contents, not compressed or encrypted.
  """

  start: int
  size: int
  crc: int | None
  stored: bool


def read_into(fd: int, start: int, view: memoryview, path: os.PathLike) -> None:
  """Fills a view with the bytes of a file from `start` on.

  Raises:
    ValueError: If the file ends before the view is full.
  """
  while len(view):
    count = os.preadv(fd, [view], start)
    if not count:
      raise _damaged(path, 'it ends too early')
    start, view = start + count, view[count:]


def read_bytes(fd: int, start: int, size: int, path: os.PathLike) -> bytes:
  """The bytes in a range of a file; raises the errors of `read_into`."""
  data = bytearray(size)
  read_into(fd, start, memoryview(data), path)
  return bytes(data)


def directory(fd: int, path: os.PathLike) -> dict[str, Member]:
  """The members of an archive by name.

  Args:
    fd: The opened file.
    path: Path of the file, for errors.

  Raises:
    ValueError: If the file is damaged, or is not an archive that PyTorch wrote.
  """
  start, size, count = _find_directory(fd, path)
  members, ranges = {}, []
  for name, offset, member_size, crc, stored in _entries(
      read_bytes(fd, start, size, path), count, path
  ):
    shown = repr(name[:80].decode(errors='replace'))
    data_start = _data_start(fd, offset, name, start, path)
    member = Member(data_start, member_size, crc, stored)
    if member.start + member.size > start:
      raise _damaged(path, f'{shown} is cut off')
    try:
      text = name.decode()
    except UnicodeDecodeError as error:
      raise _damaged(path, f'it names a file {shown}') from error
    if text in members:
      raise ValueError(
          f'{path} holds two files named {shown}, which PyTorch never writes.'
          ' Save it again with torch.save.'
      )
    members[text] = member
    ranges.append((offset, member.start + member.size))
  ranges.sort()
  if any(end > later for (_, end), (later, _) in zip(ranges, ranges[1:])):
    raise _damaged(path, 'its files overlap')
  return members


def _damaged(path: os.PathLike, what: str) -> ValueError:
  return ValueError(
      f'{path} is damaged: {what}. Download or copy it again, or save it again'
      ' with torch.save.'
  )


def _find_directory(fd: int, path: os.PathLike) -> tuple[int, int, int]:
  """Start, size and number of entries of the directory at the end."""
  size = os.fstat(fd).st_size
  end = size - _END.size
  if end < 0:
    raise _damaged(path, f'it has only {size} bytes')
  fields = _END.unpack(read_bytes(fd, end, _END.size, path))
  if fields[0] != b'PK\5\6' or fields[-1]:
    raise _damaged(path, 'the directory at its end is missing, as if cut off')
  _, _, _, _, count, length, start, _ = fields
  # PyTorch always writes the 64-bit fields as well, which take precedence.
  at = end - _END64_LOCATOR.size - _END64.size
  if at >= 0:
    record = read_bytes(fd, at, _END64.size + _END64_LOCATOR.size, path)
    signature, _, offset, _ = _END64_LOCATOR.unpack(record[_END64.size :])
    if signature == b'PK\6\7':
      fields = _END64.unpack(record[: _END64.size])
      if fields[0] != b'PK\6\6' or offset != at:
        raise _damaged(path, 'the directory at its end is in the wrong place')
      count, length, start, end = *fields[7:10], at
  if start + length != end:
    raise _damaged(path, 'the directory at its end has the wrong size')
  if length > MAX_DIRECTORY:
    raise ValueError(
        f'{path} lists its files in {length} bytes, but at most'
        f' {MAX_DIRECTORY} are read. No checkpoint of an RQ-VAE or'
        ' RQ-Transformer needs so many; check the path.'
    )
  return start, length, count


def _entries(
    data: bytes, count: int, path: os.PathLike
) -> Iterator[tuple[bytes, int, int, int, bool]]:
  """Yields name, header offset, size, CRC and `stored` of each member."""
  at = 0
  while at < len(data):
    if len(data) - at < _ENTRY.size or data[at : at + 4] != b'PK\1\2':
      raise _damaged(path, 'an entry of its directory cannot be read')
    _, _, _, flags, method, _, _, crc, *rest = _ENTRY.unpack_from(data, at)
    packed, size, name_size, extra_size, comment_size, _, _, _, offset = rest
    at += _ENTRY.size
    name = data[at : at + name_size]
    extra = data[at + name_size : at + name_size + extra_size]
    at += name_size + extra_size + comment_size
    size, packed, offset = _wide(extra, (size, packed, offset), path)
    shown = repr(name[:80].decode(errors='replace'))
    stored = not method and not flags & _ENCRYPTED
    if stored and packed != size:
      raise _damaged(path, f'{shown} has two different sizes')
    yield name, offset, packed, crc, stored
    count -= 1
  if count or at != len(data):
    raise _damaged(path, 'its directory lists the wrong number of files')


def _wide(
    extra: bytes, values: tuple[int, ...], path: os.PathLike
) -> Iterator[int]:
  """Yields the values; those over 32 bits are taken from the extra field."""
  wide = b''
  while len(extra) >= 4:
    kind, size = struct.unpack_from('<2H', extra)
    if kind == 1:
      wide = extra[4 : 4 + size]
    extra = extra[4 + size :]
  for value in values:
    if value == _IN_ZIP64:
      if len(wide) < 8:
        raise _damaged(path, 'a 64-bit entry of its directory is incomplete')
      value, wide = int.from_bytes(wide[:8], 'little'), wide[8:]
    yield value


def _data_start(
    fd: int, offset: int, name: bytes, limit: int, path: os.PathLike
) -> int:
  """Position of the data of a member, which follow its own header."""
  size = _LOCAL.size + len(name)
  data = read_bytes(fd, offset, size, path) if offset + size <= limit else b''
  if data[:4] != b'PK\3\4':
    raise _damaged(path, 'its directory points to a place where no file starts')
  # The sizes in this header are 0 if they were unknown when it was written.
  *_, name_size, extra_size = _LOCAL.unpack_from(data)
  if name_size != len(name) or data[_LOCAL.size :] != name:
    raise _damaged(path, 'a file has two different names')
  return offset + size + extra_size
