"""Hashes of files and of JSON objects, which show whether they are damaged.

The hash is BLAKE2b with 128 bits: it is in the standard library, takes 0.7 s of
one core per GB, and does not depend on the instructions of a processor. JSON
objects hold their own hash in the field 'hash'.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
import hashlib
import json
import os
import threading
from typing import Any

from etils import epath

from rq_jax import files
from rq_jax.distributed import progress

_BYTES = 16
_BLOCK = 2**20  # Bytes that are read at a time.
_FIELD = 'hash'


def new(content: bytes = b'') -> hashlib.blake2b:
  """Begins a hash with the first bytes."""
  return hashlib.blake2b(content, digest_size=_BYTES)


def of_file(
    path: epath.PathLike,
    begin: Callable[[], Any] = new,
    seen: Callable[[int], Any] = lambda count: None,
) -> str:
  """The hash of the contents of a file.

  Args:
    path: The file.
    begin: Begins a hash, such as `hashlib.sha256`.
    seen: Called with the number of bytes of each block that was read.

  Raises:
    OSError: If it cannot be read.
  """
  hashed = begin()
  with epath.Path(path).open('rb') as stream:
    while block := stream.read(_BLOCK):
      hashed.update(block)
      seen(len(block))
  return hashed.hexdigest()


def of_files(
    paths: Iterable[epath.PathLike], begin: Callable[[], Any] = new
) -> list[str | None]:
  """The hashes of files, computed in threads; None for missing files.

  A bar shows progress if it takes more than 3 seconds.

  Args:
    paths: The files.
    begin: Begins a hash, such as `hashlib.sha256`.

  Raises:
    OSError: If a file exists but cannot be read. It may be sound: its disk or
      network may fail only for a while.
  """
  paths, lock = list(paths), threading.Lock()
  with (
      progress.bar(
          total=_total_bytes(paths),
          desc='comparing hashes',
          unit='B',
          unit_scale=True,
          delay=progress.SHOWN_AFTER_S,
      ) as bar,
      futures.ThreadPoolExecutor(os.cpu_count()) as pool,
  ):

    def seen(count: int) -> None:
      with lock:
        bar.update(count)

    def found(path: epath.PathLike) -> str | None:
      try:
        return of_file(path, begin, seen)
      except FileNotFoundError:
        return None

    return list(pool.map(found, paths))


def of_value(value: Any) -> str:
  """The hash of a value of JSON; the order of fields does not matter."""
  plain = json.loads(json.dumps(value))  # With the keys that reading gives.
  return new(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def seal(value: Mapping[str, Any]) -> dict[str, Any]:
  """A JSON object with its own hash, which `unsealed` compares."""
  return {**value, _FIELD: of_value(value)}


def is_sealed(value: Mapping[str, Any]) -> bool:
  """Whether a JSON object has its own hash; older ones have none."""
  return _FIELD in value


def is_intact(value: Mapping[str, Any]) -> bool:
  """Whether a JSON object has its own hash, and the right one."""
  return is_sealed(value) and value[_FIELD] == of_value(_rest(value))


def unsealed(value: Mapping[str, Any], path: epath.PathLike) -> dict[str, Any]:
  """A JSON object without its hash, which must be right if there is one.

  Args:
    value: The object, as `files.read_json_object` reads it.
    path: Its file, for the error.

  Raises:
    ValueError: If the object does not have the hash that it holds.
  """
  if is_sealed(value) and not is_intact(value):
    raise ValueError(
        f'{path} is damaged: its contents do not have the hash that they'
        ' record. Restore the file from a copy, or write it again.'
    )
  return _rest(value)


def _rest(value: Mapping[str, Any]) -> dict[str, Any]:
  return {name: item for name, item in value.items() if name != _FIELD}


def _total_bytes(paths: Iterable[epath.PathLike]) -> int | None:
  """The size of local files together; None if some are remote."""
  if not all(files.is_local(path) for path in paths):
    return None  # Asking for each size would take long.
  return sum(os.stat(path).st_size for path in paths if os.path.exists(path))
