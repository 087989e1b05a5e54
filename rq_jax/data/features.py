"""The cache of features that stage 1 writes once and stage 2 reads every epoch.

Features are the encoder's outputs before quantization: the published recipe
draws new codes from them at every step. A cache is a folder on a file system
that can be memory-mapped, with one folder per split:

  path/train/meta.json                         written last
  path/train/features-00000-of-00002.npy       float16[n, H, W, C]
  path/train/label-00000-of-00002.npy          int32[n]

The processes of an encoding job write one shard each (`Writer`); once all have
closed theirs, one process writes `meta.json` (`Writer.finish`). A split without
it is unfinished, whatever else is in its folder.
"""

import bisect
import json
import os
import pathlib
from typing import Any, TypeAlias

import numpy as np

Path: TypeAlias = str | os.PathLike[str]

FORMAT_VERSION = 1

_META = 'meta.json'
_COMMAND = '`python -m rq_jax encode`'
_MISCOUNTED = (
    '{} examples were written to {}, which was opened for {}; announce the'
    ' length of the source and encode the split again'
)


class Writer:
  """Writes one shard of a split, batch by batch.

  Shard s of S holds the examples N * s // S up to N * (s + 1) // S of the
  split, in order. The files carry another name until `close`.

  Attributes:
    start: Index of the shard's first example in the split.
    stop: Index after its last.
  """

  def __init__(
      self,
      path: Path,
      *,
      split: str,
      num_examples: int,
      shape: tuple[int, int, int],
      fingerprint: str,
      shard: int = 0,
      num_shards: int = 1,
  ):
    """Opens a shard; what an earlier job wrote of the split is void from here.

    Args:
      path: The cache, made where it is missing.
      split: 'train' or 'test'.
      num_examples: N, the length of the whole split.
      shape: (H, W, C) of the features.
      fingerprint: Of the tokenizer that encodes.
      shard: Number of this shard, from 0.
      num_shards: S.

    Raises:
      ValueError: If the path is remote or there is no such shard.
    """
    if not 0 <= shard < num_shards:
      raise ValueError(f'shard is {shard}; it must be in [0, {num_shards})')
    self.start, self.stop = _bounds(num_examples, shard, num_shards)
    self._folder = _local(path) / split
    self._folder.mkdir(parents=True, exist_ok=True)
    (self._folder / _META).unlink(missing_ok=True)
    self._meta = {
        'version': FORMAT_VERSION,
        'fingerprint': fingerprint,
        'shape': list(shape),
        'dtype': 'float16',
        'num_examples': num_examples,
        'split': split,
        'shards': [_shard_names(s, num_shards) for s in range(num_shards)],
    }
    self._files = [self._folder / n for n in _shard_names(shard, num_shards)]
    count = self.stop - self.start
    layouts = (np.float16, (count, *shape)), (np.int32, (count,))
    self._arrays = []
    for file, layout in zip(self._files, layouts):
      file.unlink(missing_ok=True)
      array = np.lib.format.open_memmap(_partial(file), 'w+', *layout)
      self._arrays.append(array)
    self._written = 0

  def write(self, features: np.ndarray, labels: np.ndarray) -> None:
    """Appends examples.

    Args:
      features: float[n, H, W, C].
      labels: int[n].

    Raises:
      ValueError: If there are too many, of another shape, or not in float16's
        range.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    stored, stored_labels = self._arrays
    expected = (len(features), *stored.shape[1:])
    if features.shape != expected or labels.shape != expected[:1]:
      raise ValueError(
          f'features {list(features.shape)} and labels {list(labels.shape)} do'
          f' not fit a cache of features [n, *{list(stored.shape[1:])}] and'
          ' labels [n]; announce the shape that the tokenizer has'
      )
    end = self._written + len(features)
    if end > len(stored):
      raise ValueError(_MISCOUNTED.format(end, self._files[0], len(stored)))
    stored[self._written : end] = _half(features)
    stored_labels[self._written : end] = labels
    self._written = end

  def close(self) -> None:
    """Gives the files of a complete shard their names; finishes an only one.

    Raises:
      ValueError: If fewer examples were written than announced.
    """
    count = self.stop - self.start
    if self._written != count:
      raise ValueError(_MISCOUNTED.format(self._written, self._files[0], count))
    while self._arrays:
      self._arrays.pop().flush()
    for file in self._files:
      os.replace(_partial(file), file)
    if len(self._meta['shards']) == 1:
      self.finish()

  def finish(self) -> None:
    """Declares the split complete; for one process, after all have closed.

    Raises:
      ValueError: If a shard is missing or has another size.
    """
    _open_shards(self._folder, self._meta)
    file = self._folder / _META
    _partial(file).write_text(json.dumps(self._meta, indent=2) + '\n')
    os.replace(_partial(file), file)


class Features:
  """Random access to the features of a split, memory-mapped.

  Attributes:
    fingerprint: Of the tokenizer that encoded.
    shape: (H, W, C).
  """

  def __init__(self, path: Path | None, split: str):
    """Opens a split, 'train' or 'test', of the cache at `path`.

    Raises:
      ValueError: If it is missing, unfinished, of another version or damaged.
    """
    meta = _read_meta(path, split)
    self._opened = (path, split)
    self.fingerprint: str = meta['fingerprint']
    self.shape: tuple[int, ...] = tuple(meta['shape'])
    self._shards = _open_shards(_local(path) / split, meta)
    self._ends = np.cumsum([len(label) for _, label in self._shards]).tolist()

  def __reduce__(self):
    """Worker processes map the files again rather than copy them."""
    return type(self), self._opened

  def __len__(self) -> int:
    """Number of examples in the split."""
    return self._ends[-1]

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'features', float32[H, W, C], and 'label', int32[]."""
    if not 0 <= index < len(self):
      raise IndexError(f'example {index} of {len(self)}')
    shard = bisect.bisect_right(self._ends, index)
    features, label = self._shards[shard]
    row = index - (self._ends[shard] - len(label))
    return {'features': features[row].astype(np.float32), 'label': label[row]}


def check_fingerprint(path: Path | None, fingerprint: str) -> None:
  """Refuses a cache that another tokenizer encoded.

  Args:
    path: The cache; each of its splits is checked.
    fingerprint: Of the tokenizer that is to be used with it.

  Raises:
    ValueError: If a split has another fingerprint, or there is no split.
  """
  files = [] if path is None else _local(path).glob(f'*/{_META}')
  for split in sorted(file.parent.name for file in files) or ['train']:
    encoder = _read_meta(path, split)['fingerprint']
    if encoder != fingerprint:
      raise ValueError(
          f'{path} ({split}) was encoded by tokenizer {encoder}, not'
          f' {fingerprint}; stage 2 needs the one that encoded; set'
          f' --config.tokenizer to it, or encode again with {_COMMAND}'
      )


def _local(path: Path) -> pathlib.Path:
  if '://' in str(path):
    raise ValueError(
        f'the feature cache is {path}; it is memory-mapped and needs a local'
        ' or mounted folder; copy it there and set --config.data.path to it'
    )
  return pathlib.Path(path)


def _partial(file: pathlib.Path) -> pathlib.Path:
  return file.with_name(file.name + '.partial')


def _bounds(num_examples: int, shard: int, num_shards: int) -> tuple[int, int]:
  """The first example of a shard, and the one after its last."""
  start, stop = num_examples * shard, num_examples * (shard + 1)
  return start // num_shards, stop // num_shards


def _shard_names(shard: int, num_shards: int) -> tuple[str, str]:
  suffix = f'{shard:05d}-of-{num_shards:05d}.npy'
  return f'features-{suffix}', f'label-{suffix}'


def _half(features: np.ndarray) -> np.ndarray:
  """Features in 16 bit, or a reason why not."""
  with np.errstate(over='ignore'):
    half = features.astype(np.float16)
  if not np.isfinite(half).all():
    raise ValueError(
        f'a feature has the size {np.abs(features).max():.3g}, which overflows'
        ' to inf in float16; a cache holds finite values up to 65504; use an'
        ' earlier checkpoint of the tokenizer, or another one'
    )
  return half


def _read_meta(path: Path | None, split: str) -> dict[str, Any]:
  advice = f'write it with {_COMMAND} and set --config.data.path'
  if path is None or not (_local(path) / split).is_dir():
    raise ValueError(
        f'config.data.path is {str(path)!r}, which has no folder {split!r};'
        f" source 'features' needs a cache of features; {advice}"
    )
  folder = _local(path) / split
  if not (folder / _META).exists():
    raise ValueError(
        f'{folder} is unfinished: it has no {_META}, because encoding was'
        f' interrupted or still runs; {advice}'
    )
  meta = json.loads((folder / _META).read_text())
  if meta['version'] != FORMAT_VERSION:
    raise ValueError(
        f'{folder} has format version {meta["version"]}, but this code reads'
        f' version {FORMAT_VERSION}; {advice}'
    )
  return meta


def _open_shards(
    folder: pathlib.Path, meta: dict[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
  """(features, labels) of each shard, memory-mapped and checked."""
  total, names = meta['num_examples'], meta['shards']
  shards = []
  for shard, (features, label) in enumerate(names):
    start, stop = _bounds(total, shard, len(names))
    layout = (stop - start, *meta['shape'])
    array = _open(folder / features, np.float16, layout)
    shards.append((array, _open(folder / label, np.int32, layout[:1])))
  return shards


def _open(file: pathlib.Path, dtype: type, shape: tuple[int, ...]) -> Any:
  try:
    array = np.load(file, mmap_mode='r')
    if (array.dtype, array.shape) == (np.dtype(dtype), shape):
      return array
    found = f'{array.dtype}{list(array.shape)}'
  except FileNotFoundError:
    found = 'nothing'
  except (EOFError, ValueError, OSError):
    found = f'a broken file of {file.stat().st_size} bytes'
  raise ValueError(
      f'{file} holds {found}, but its cache announces'
      f' {np.dtype(dtype)}{list(shape)}; encode again with {_COMMAND}'
  )
