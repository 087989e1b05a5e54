"""Opens the arrays of a split, and compares files with their hashes."""

from collections.abc import Callable, Iterator
import pathlib
from typing import Any, NamedTuple

import numpy as np

from rq_jax import hashes
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import records

_BLOCK = 2**24  # Bytes that are read at a time.


class Shard(NamedTuple):
  """The arrays of a shard, memory-mapped.

  Attributes:
    file: The file of the features.
    features: float16[n, V, H, W, C].
    label: int32[n].
    checksum: uint32[n, V]; None in older caches.
    text: uint8[b], the UTF-8 bytes of all texts; None without texts.
    text_offsets: int64[n + 1]; None without texts.
  """

  file: pathlib.Path
  features: np.ndarray
  label: np.ndarray
  checksum: np.ndarray | None = None
  text: np.ndarray | None = None
  text_offsets: np.ndarray | None = None


def open_shards(folder: pathlib.Path, meta: dict[str, Any]) -> list[Shard]:
  """Memory-maps the arrays of all shards.

  It compares types, shapes and sizes, and the hashes of all arrays except for
  the features: their checksums are compared when a view is read.

  Args:
    folder: Folder of the split.
    meta: The contents of its `meta.json`.

  Raises:
    ValueError: If a file is missing, damaged, or does not have the size, type
      and shape that `meta` and the record of its shard describe.
  """
  if meta['version'] == 1:
    return [_open_version_1(folder, meta, s) for s in range(_count(meta))]
  found = []
  for shard in range(_count(meta)):
    recorded = _recorded(folder, meta, shard)
    _check_sizes(folder, recorded)
    found.append(_open_shard(folder, meta, shard, recorded))
  return found


def verify(
    path: layout.Path, *, seen: Callable[[int], Any] = lambda _: None
) -> int:
  """Compares all files of a cache with the hashes recorded in it.

  Args:
    path: The cache.
    seen: Called with numbers of bytes as they are read.

  Returns:
    Number of bytes of all arrays.

  Raises:
    ValueError: If a file differs or is missing, with the names of all such
      files; or if a split is unfinished, or of version 1, which has no hashes.
  """
  total, wrong = 0, []
  for file, stored in _stored_files(path):
    total += stored.bytes
    found = hashes.new()
    if file.is_file():
      with file.open('rb') as stream:
        while block := stream.read(_BLOCK):
          found.update(block)
          seen(len(block))
    if found.hexdigest() != stored.hash:
      wrong.append(file)
  if wrong:
    raise ValueError(
        f'{", ".join(map(str, wrong))} changed since encoding, or'
        f' {"is" if len(wrong) == 1 else "are"} missing. Copy the cache again,'
        f' or encode again with {layout.COMMAND}.'
    )
  return total


def array_bytes(path: layout.Path) -> int:
  """Number of bytes that `verify` reads."""
  return sum(stored.bytes for _, stored in _stored_files(path))


def _stored_files(
    path: layout.Path,
) -> Iterator[tuple[pathlib.Path, records.Stored]]:
  """The arrays of all splits of a cache, with what is recorded of them."""
  root = layout.local(path)
  found = (
      [f.name for f in root.iterdir() if f.is_dir()] if root.is_dir() else []
  )
  for split in sorted(found) or ['train']:
    folder, meta = records.read_meta(path, split)
    if meta['version'] == 1:
      raise ValueError(
          f'{folder} has format version 1, which holds no hashes, so it cannot'
          f' be verified. Encode again with {layout.COMMAND} to get hashes.'
      )
    for shard in range(_count(meta)):
      for name, stored in _recorded(folder, meta, shard).items():
        yield folder / name, stored


def _count(meta: dict[str, Any]) -> int:
  return len(meta['shards'])


def _recorded(
    folder: pathlib.Path, meta: dict[str, Any], shard: int
) -> dict[str, records.Stored]:
  """Size and hash of the files of a shard, by name."""
  file = folder / layout.record_name(shard, _count(meta))
  record = records.read_shard(file)
  if hashes.of_file(file) != meta['shards'][shard]:
    raise ValueError(
        f'{file} is not the one that {layout.META} describes. Copy the cache'
        f' again, or encode again with {layout.COMMAND}.'
    )
  return {n: records.Stored(**f) for n, f in record['files'].items()}


def _check_sizes(
    folder: pathlib.Path, recorded: dict[str, records.Stored]
) -> None:
  for name, stored in recorded.items():
    file = folder / name
    if file.is_file() and (size := file.stat().st_size) != stored.bytes:
      raise ValueError(
          f'{file} has {size} bytes, but should have {stored.bytes}. Copy the'
          f' cache again, or encode again with {layout.COMMAND}.'
      )


def _check_hash(
    file: pathlib.Path, recorded: dict[str, records.Stored]
) -> None:
  stored = recorded.get(file.name)
  if stored is None or stored.hash != hashes.of_file(file):
    raise ValueError(
        f'{file} is damaged: it does not have its recorded hash. Restore it'
        f' from a copy, or encode again with {layout.COMMAND}, which encodes'
        ' only damaged shards.'
    )


def _open_shard(
    folder: pathlib.Path,
    meta: dict[str, Any],
    shard: int,
    recorded: dict[str, records.Stored],
) -> Shard:
  count = len(layout.rows(meta['num_examples'], shard, _count(meta)))

  def file(kind: str) -> pathlib.Path:
    return folder / layout.array_name(kind, shard, _count(meta))

  def opened(kind: str, dtype: type, *shape: int) -> np.ndarray:
    array = _open(file(kind), dtype, shape)
    _check_hash(file(kind), recorded)
    return array

  features, views = file('features'), meta['views']
  checksum = None  # The cache is older.
  if file('checksum').name in recorded:
    checksum = opened('checksum', np.uint32, count, views)
  arrays = Shard(
      file=features,
      features=_open(features, np.float16, (count, views, *meta['shape'])),
      label=opened('label', np.int32, count),
      checksum=checksum,
  )
  if not meta['texts']:
    return arrays
  offsets = opened('text_offsets', np.int64, count + 1)
  text = opened('text', np.uint8, int(offsets[-1]))
  return arrays._replace(text=text, text_offsets=offsets)


def _open_version_1(
    folder: pathlib.Path, meta: dict[str, Any], shard: int
) -> Shard:
  """Opens features without an axis of views, float16[n, H, W, C]."""
  count = len(layout.rows(meta['num_examples'], shard, _count(meta)))
  features, label = meta['shards'][shard]
  shape = (count, *meta['shape'])
  return Shard(
      file=folder / features,
      features=_open(folder / features, np.float16, shape)[:, None],
      label=_open(folder / label, np.int32, (count,)),
  )


def _open(file: pathlib.Path, dtype: type, shape: tuple[int, ...]) -> Any:
  try:
    array = np.load(file, mmap_mode='r')
    if (array.dtype, array.shape) == (np.dtype(dtype), shape):
      return array
    found = f'{array.dtype}{list(array.shape)}'
  except FileNotFoundError:
    found = 'nothing (it is missing)'
  # NumPy raises errors of many types for damaged headers.
  except Exception:
    found = f'{file.stat().st_size} bytes that are not a valid array'
  raise ValueError(
      f'{file} holds {found}, but should hold'
      f' {np.dtype(dtype)}{list(shape)}. Encode again with {layout.COMMAND}.'
  )
