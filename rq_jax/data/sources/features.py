"""Reads the cache of features, which `encode` writes once for stage 2.

Features are the encoder's outputs before quantization; the published recipe
draws new codes from them at every step. A cache is a folder on a file system
that supports memory-mapping, with one folder per split; `layout` describes its
files. `writer.Writer` writes one shard. Once all shards are written, one
process writes `meta.json`. A split without `meta.json` is unfinished, whatever
else is in its folder.
"""

import bisect
import pathlib
from typing import Any

import numpy as np

from rq_jax.config import sections
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache.layout import Path


class Features:
  """Random access to the features of a split, memory-mapped.

  Attributes:
    fingerprint: Fingerprint of the tokenizer that encoded the features.
    shape: Shape of the features of one example, (H, W, C).
    num_classes: Number of classes; labels lie in [0, num_classes). If the cache
      does not record it, one more than the largest label.
    class_names: Names of the classes by label; None if the cache does not
      record them.
    listing: None, because `fingerprint` identifies the features.
  """

  listing = None

  def __init__(self, path: Path | None, split: str):
    """Opens a split, 'train' or 'test', of the cache at `path`.

    Raises:
      ValueError: If the split is missing, unfinished, damaged, or has another
        format version.
    """
    folder, meta = layout.read_meta(path, split)
    self._opened = (path, split)
    self.fingerprint: str = meta['fingerprint']
    self.shape: tuple[int, ...] = tuple(meta['shape'])
    self._shards = layout.open_shards(folder, meta)
    self._ends = np.cumsum([len(label) for _, label in self._shards]).tolist()
    names = meta.get('class_names')
    self.class_names = None if names is None else tuple(names)
    recorded = meta.get('num_classes')
    self.num_classes: int = (
        _count_classes(folder, [label for _, label in self._shards])
        if recorded is None
        else recorded
    )

  def __reduce__(self):
    """Lets worker processes map the files again instead of copying them."""
    return type(self), self._opened

  def __len__(self) -> int:
    """Number of examples in the split."""
    return self._ends[-1]

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'features', float32[H, W, C], and 'label', int32[]."""
    if not 0 <= index < len(self):
      raise IndexError(
          f'Example {index} is out of range: there are {len(self)} examples.'
      )
    shard = bisect.bisect_right(self._ends, index)
    features, label = self._shards[shard]
    row = index - (self._ends[shard] - len(label))
    return {'features': features[row].astype(np.float32), 'label': label[row]}


def open_split(data: sections.Data, split: str) -> Features:
  """Opens a split for an experiment, given its section `data`."""
  return Features(data.path, split)


def check_fingerprint(path: Path | None, fingerprint: str) -> None:
  """Checks that a cache was encoded by a given tokenizer.

  Args:
    path: The cache. All of its splits are checked.
    fingerprint: Fingerprint of the tokenizer.

  Raises:
    ValueError: If a split has another fingerprint, or there is no split.
  """
  found = []
  if path is not None:
    found = layout.local(path).glob(f'*/{layout.META}')
  for split in sorted(file.parent.name for file in found) or ['train']:
    _, meta = layout.read_meta(path, split)
    if (encoder := meta['fingerprint']) != fingerprint:
      raise ValueError(
          f'{path} ({split}) was encoded by tokenizer {encoder}, not'
          f' {fingerprint}, but stage 2 needs the tokenizer that encoded its'
          f' data. Set --config.tokenizer to that one, or encode again with'
          f' {layout.COMMAND}.'
      )


def _count_classes(folder: pathlib.Path, labels: list[np.ndarray]) -> int:
  """Counts classes from the labels: one more than the largest label."""
  low = min((int(x.min()) for x in labels if len(x)), default=0)
  if low < 0:
    raise ValueError(
        f'{folder} holds the label {low}, but labels number the classes from 0.'
        f' Encode again with {layout.COMMAND}.'
    )
  return 1 + max((int(x.max()) for x in labels if len(x)), default=-1)
