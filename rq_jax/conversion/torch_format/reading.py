"""Reads files of `torch.save` without PyTorch, and without executing them.

A file holds a pickle, which describes the saved objects, and the bytes of each
storage. PyTorch 1.6 and later put them into a zip file; see `legacy` for the
earlier format. The first bytes of a file decide which format it has; its name
does not matter. The pickle is checked against the file before any tensor is
read.

Checksums are compared for the pickle, and for each tensor that fills its
storage (as the parameters of models do). Two kinds of files have no checksums:
those from before PyTorch 1.6, and those saved under
`torch.serialization.set_crc32_options(False)`.
"""

import dataclasses
import json
import os
import pathlib
import shlex
from typing import Any
import zlib

import numpy as np

from rq_jax.conversion import file_kinds
from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import legacy
from rq_jax.conversion.torch_format import numpy_arrays
from rq_jax.conversion.torch_format import tensors
from rq_jax.conversion.torch_format import unpickling
from rq_jax.conversion.torch_format import zips
from rq_jax.conversion.torch_format.tensors import LazyTensor

_ZIP = b'PK\3\4'


def is_torch_file(path: str | os.PathLike) -> bool:
  """Whether a file starts like one of `torch.save` of any release."""
  with open(path, 'rb') as file:
    head = file.read(file_kinds.HEAD_BYTES)
  return head.startswith((_ZIP, legacy.MAGIC)) or _is_first_format(head)


def _is_first_format(head: bytes) -> bool:
  """Whether a file is a tar file as the first releases of PyTorch wrote it."""
  return head.startswith(b'sys_info\0') and head[257:262] == b'ustar'


class TorchFile:
  """A file of `torch.save`, opened for reading. Use as a context manager.

  Arguments are the path, and whether the file may hold NumPy arrays.

  Attributes:
    path: Path of the file.
    tree: The saved object: dicts, lists, tuples, strings, numbers, None, a
      `LazyTensor` for each tensor, and a `calls.Opaque` for each object of
      another class. A `torch.Size` becomes a tuple, and a `torch.device` a
      string. If allowed, a NumPy array becomes a `numpy_arrays.PickledArray`.

  Raises:
    ValueError: If the file is not one of PyTorch's, is damaged, or does what no
      checkpoint needs.
  """

  def __init__(self, path: str | os.PathLike, *, arrays: bool = False):
    self._arrays = arrays
    self.path = pathlib.Path(path)
    file_kinds.require_file(self.path)
    self._fd = os.open(self.path, os.O_RDONLY)
    try:
      self.tree, self._storages, self._members = self._open()
    except BaseException:
      self.close()
      raise

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self) -> None:
    """Closes the file; arrays that were read stay valid."""
    if self._fd >= 0:
      os.close(self._fd)
    self._fd = -1

  def read(self, tensor: LazyTensor) -> np.ndarray:
    """The values of a tensor, in its own memory and in C order.

    Raises:
      ValueError: If they are damaged, or the tensor belongs to another file.
    """
    storage = self._storages.get(tensor.storage)
    if storage is None or storage.dtype != tensor.dtype:
      problem = 'belongs to no storage of this file'
    else:
      problem = tensors.misfit(tensor, storage.numel)
    if problem:
      raise ValueError(
          f'{self.path} cannot give a tensor that {problem}. Take it from the'
          ' tree of the same file.'
      )
    if self._fd < 0:
      raise ValueError(f'{self.path} is closed. Read tensors while it is open.')
    if not tensor.nbytes:
      return np.empty(tensor.shape, tensor.dtype)
    size = tensor.dtype.itemsize
    member = self._members[tensor.storage]
    data = np.empty(tensor.span * size, np.uint8)
    start = member.start + tensor.offset * size
    zips.read_into(self._fd, start, data.data, self.path)
    if data.nbytes == member.size:
      self._check(tensor.storage, zlib.crc32(data.data))
    if tensor.dtype == np.bool_ and data.max() > 1:
      raise self._damaged(
          f'storage {calls.shown(tensor.storage)} holds'
          ' bytes that are neither true nor false'
      )
    # A dimension of size 1 needs no stride; the file may have any there.
    strides = [
        stride * size if count > 1 else 0
        for count, stride in zip(tensor.shape, tensor.stride)
    ]
    view = np.lib.stride_tricks.as_strided(
        data.view(tensor.dtype), tensor.shape, strides
    )
    return np.asarray(view, order='C')

  def _check(self, key: str, crc: int) -> None:
    expected = self._members[key].crc
    if expected is not None and crc != expected:
      raise self._damaged(
          f'storage {calls.shown(key)} differs from its checksum'
      )

  def _damaged(self, what: str) -> ValueError:
    return ValueError(
        f'{self.path} is damaged: {what}. Download or copy it again.'
    )

  def _open(self) -> tuple[Any, dict, dict[str, zips.Member]]:
    """The tree, its storages, and the range of each storage in the file."""
    size = min(os.fstat(self._fd).st_size, file_kinds.HEAD_BYTES)
    head = zips.read_bytes(self._fd, 0, size, self.path)
    if head.startswith(_ZIP):
      return self._open_archive()
    if head.startswith(legacy.MAGIC):
      return legacy.contents(self._fd, self.path)
    if _is_first_format(head):
      name = json.dumps(str(self.path), ensure_ascii=False)
      code = (
          f'import torch; torch.save(torch.load({name}, map_location="cpu",'
          f' weights_only=False), {name})'
      )
      raise ValueError(
          f'{self.path} is a tar file, which only the first releases of PyTorch'
          ' wrote. If you trust it (loading it may execute its contents), save'
          ' it again where PyTorch is installed: python -c'
          f' {shlex.quote(code)}'
      )
    found = file_kinds.recognised(head)
    kind, advice = found or (
        f'not a file of torch.save: it starts with {head[:8]!r}',
        'Check the path, and whether the download is complete.',
    )
    raise ValueError(f'{self.path} is {kind}. {advice}')

  def _open_archive(self) -> tuple[Any, dict, dict[str, zips.Member]]:
    """Opens a zip file; returns the same as `_open`."""
    members = zips.directory(self._fd, self.path)
    pickles = [name for name in members if name.endswith('/data.pkl')]
    if len(pickles) != 1 or pickles[0].count('/') != 1:
      raise ValueError(
          f'{self.path} is a zip file, but not one of torch.save: it holds'
          f' {len(pickles)} files data.pkl in a folder instead of one. Give the'
          ' path of a checkpoint.'
      )
    prefix = pickles[0].removesuffix('data.pkl')
    if any(name.startswith(f'{prefix}code/') for name in members) or (
        f'{prefix}constants.pkl' in members
    ):
      raise ValueError(
          f'{self.path} is a TorchScript program, not a checkpoint. Save the'
          ' state_dict() of torch.jit.load(...) with torch.save, and give that'
          ' file.'
      )
    packed = [name for name in members if not members[name].stored]
    if packed:
      raise ValueError(
          f'{self.path} holds {calls.shown(packed[0])} compressed or'
          ' encrypted, but PyTorch stores files unchanged. Save it again with'
          ' torch.save.'
      )
    order = members.get(f'{prefix}byteorder')
    if order and self._member(order, limit=16) != b'little':
      raise ValueError(
          f'{self.path} was written on a big-endian machine. Load it with'
          ' PyTorch on a little-endian machine, which nearly all are, and save'
          ' it again.'
      )
    member = members[pickles[0]]
    limit = numpy_arrays.MAX_BYTES if self._arrays else unpickling.MAX_BYTES
    pickled = self._member(member, limit=limit)
    # PyTorch has an option that leaves out all checksums.
    if not member.crc:
      members = {
          name: dataclasses.replace(member, crc=None)
          for name, member in members.items()
      }
    elif zlib.crc32(pickled) != member.crc:
      raise self._damaged('data.pkl differs from its checksum')
    tree, storages = unpickling.parse(pickled, self.path, arrays=self._arrays)
    for storage in storages.values():
      self._check_storage(storage, members.get(f'{prefix}data/{storage.key}'))
    found = {key: members[f'{prefix}data/{key}'] for key in storages}
    return tree, storages, found

  def _member(self, member: zips.Member, *, limit: int) -> bytes:
    if member.size > limit:
      raise ValueError(
          f'{self.path} is not a checkpoint: the description of its contents'
          f' has {member.size} bytes, but at most {limit} are read. Save only'
          ' tensors, numbers and strings.'
      )
    return zips.read_bytes(self._fd, member.start, member.size, self.path)

  def _check_storage(
      self, storage: tensors.Storage, member: zips.Member | None
  ) -> None:
    size = storage.numel * storage.dtype.itemsize
    found = 'none' if member is None else member.size
    if found != size:
      raise self._damaged(
          f'storage {calls.shown(storage.key)} should have {size} bytes,'
          f' but it has {found}'
      )
