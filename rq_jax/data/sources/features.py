"""The cache of features that stage 1 writes once and stage 2 reads every epoch.

Features are the encoder's outputs before quantization: the published recipe
draws new codes from them at every step. A cache is a folder on a file system
that can be memory-mapped, with one folder per split; `layout` describes
what is in it. `writer.Writer` writes a shard; once all are there, one process
writes `meta.json`. A split without it is unfinished, whatever else is in its
folder.
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
    fingerprint: Of the tokenizer that encoded.
    shape: (H, W, C).
    num_classes: Classes of the data; labels are below. Of a cache that does not
      record it, one more than the largest label.
    listing: None: the features are named by `fingerprint`.
  """

  listing = None

  def __init__(self, path: Path | None, split: str):
    """Opens a split, 'train' or 'test', of the cache at `path`.

    Raises:
      ValueError: If it is missing, unfinished, of another version or damaged.
    """
    folder, meta = layout.read_meta(path, split)
    self._opened = (path, split)
    self.fingerprint: str = meta['fingerprint']
    self.shape: tuple[int, ...] = tuple(meta['shape'])
    self._shards = layout.open_shards(folder, meta)
    self._ends = np.cumsum([len(label) for _, label in self._shards]).tolist()
    recorded = meta.get('num_classes')
    self.num_classes: int = (
        _count_classes(folder, [label for _, label in self._shards])
        if recorded is None
        else recorded
    )

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


def open_split(data: sections.Data, split: str) -> Features:
  """Opens a split for an experiment; `data` is its section of that name."""
  return Features(data.path, split)


def check_fingerprint(path: Path | None, fingerprint: str) -> None:
  """Refuses a cache that another tokenizer encoded.

  Args:
    path: The cache; each of its splits is checked.
    fingerprint: Of the tokenizer that is to be used with it.

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
          f' {fingerprint}; stage 2 needs the one that encoded; set'
          f' --config.tokenizer to it, or encode again with'
          f' {layout.COMMAND}'
      )


def _count_classes(folder: pathlib.Path, labels: list[np.ndarray]) -> int:
  """One more than the largest label, of a cache that records no number."""
  low = min((int(x.min()) for x in labels if len(x)), default=0)
  if low < 0:
    raise ValueError(
        f'{folder} holds the label {low}; labels number the classes from 0;'
        f' encode again with {layout.COMMAND}'
    )
  return 1 + max((int(x.max()) for x in labels if len(x)), default=-1)
