"""The layout of files that `torch.save` wrote before PyTorch 1.6.

Such a file starts with five pickles: a magic number, the version of the format,
a description of the machine, the tree that was saved, and a list of the keys of
its storages. The storages follow in the order of that list: eight bytes with
the number of elements, and then the elements.

This format has no checksums, so a changed bit among the elements goes
unnoticed. The layout can be checked: each storage that the tree mentions must
be listed once and have the stated size, no other storage may be listed, and the
last one must end where the file ends. PyTorch itself leaves a storage that is
not listed uninitialized, and fails at one that is listed but not mentioned.
Here both count as damage.
"""

import os
from typing import Any

from rq_jax.conversion.torch_format import unpickling
from rq_jax.conversion.torch_format import zips
from rq_jax.conversion.torch_format.calls import shown
from rq_jax.conversion.torch_format.tensors import Storage

# The pickles of the magic number 0x1950a86a20f9469cfc6c, which needs more than
# 64 bits, and of the version 1001. All releases of PyTorch wrote the same.
MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_VERSION = b'\x80\x02M\xe9\x03.'
_SIZE = 8


def contents(
    fd: int, path: os.PathLike
) -> tuple[Any, dict[str, Storage], dict[str, zips.Member]]:
  """The tree that was saved, its storages, and their positions in the file.

  Args:
    fd: The opened file, which starts with `MAGIC`.
    path: Path of the file, for errors.

  Returns:
    The tree and the storages, as `unpickling.parse` returns them, and the range
    of each storage in the file. The ranges have not been read.

  Raises:
    ValueError: If the file is damaged, or holds anything that models and
      optimizers do not need.
  """
  start = len(MAGIC) + len(_VERSION)
  size = os.fstat(fd).st_size
  head = zips.read_bytes(fd, 0, min(start, size), path)
  if head != MAGIC + _VERSION:
    raise _damaged(path, 'the version of its format is not 1001')
  system, _, start = _pickle(fd, start, path)
  if not isinstance(system, dict):
    raise _damaged(path, 'it does not describe the machine that wrote it')
  if system.get('little_endian') is not True:
    raise ValueError(
        f'{path} was written on a big-endian machine. Load it with PyTorch on a'
        ' little-endian machine, which nearly all are, and save it again.'
    )
  tree, storages, start = _pickle(fd, start, path)
  keys, _, start = _pickle(fd, start, path)
  _check_keys(keys, storages, path)
  members = {}
  for key in keys:
    members[key] = _member(fd, start, storages[key], path)
    start = members[key].start + members[key].size
  if start != size:
    raise _damaged(path, f'{size - start} bytes follow its last storage')
  return tree, storages, members


def _damaged(path: os.PathLike, what: str) -> ValueError:
  return ValueError(f'{path} is damaged: {what}. Download or copy it again.')


def _pickle(
    fd: int, start: int, path: os.PathLike
) -> tuple[Any, dict[str, Storage], int]:
  """Reads the pickle at a position: its tree, its storages and its end."""
  # One byte more than allowed reveals a pickle that is too long.
  rest = os.fstat(fd).st_size - start
  count = min(rest, unpickling.MAX_BYTES + 1)
  data = zips.read_bytes(fd, start, count, path)
  tree, storages, length = unpickling.parse_first(data, path)
  return tree, storages, start + length


def _check_keys(
    keys: Any, storages: dict[str, Storage], path: os.PathLike
) -> None:
  if type(keys) is not list or not all(type(key) is str for key in keys):
    raise _damaged(path, 'its list of storages cannot be read')
  if len(set(keys)) < len(keys):
    raise _damaged(path, 'it lists a storage twice')
  if unknown := sorted(set(keys) - set(storages)):
    raise _damaged(path, f'nothing in it uses storage {shown(unknown[0])}')
  if missing := sorted(set(storages) - set(keys)):
    raise _damaged(path, f'storage {shown(missing[0])} is missing')


def _member(
    fd: int, start: int, storage: Storage, path: os.PathLike
) -> zips.Member:
  """The range of a storage's elements; their number stands before them."""
  rest = os.fstat(fd).st_size - start - _SIZE
  nbytes = storage.numel * storage.dtype.itemsize
  name = f'storage {shown(storage.key)}'
  if rest < 0:
    raise _damaged(path, f'it is cut off before {name}')
  data = zips.read_bytes(fd, start, _SIZE, path)
  numel = int.from_bytes(data, 'little', signed=True)
  if numel != storage.numel:
    raise _damaged(
        path, f'{name} should have {storage.numel} elements, but it has {numel}'
    )
  if rest < nbytes:
    raise _damaged(
        path, f'{name} should have {nbytes} bytes, but only {rest} are left'
    )
  return zips.Member(start + _SIZE, nbytes, crc=None, stored=True)
