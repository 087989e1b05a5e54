"""Reads the cache of features, which `encode` writes once for stage 2.

Features are the encoder's outputs before quantization; the published recipe
draws new codes from them at every step. A cache is a folder on a file system
that supports memory-mapping, with one folder per split; `layout` describes its
files. `writer.Writer` writes one shard. Once all shards are written, one
process writes `meta.json`. A split without `meta.json` is unfinished, whatever
else is in its folder.

An image may have several views: crops of it, which were encoded separately. An
example holds all of them, and the loader picks one; see `loader.ViewTransform`.
"""

import bisect
import pathlib
from typing import Any

import numpy as np

from rq_jax.config import sections
from rq_jax.data.feature_cache import checksums
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import reader
from rq_jax.data.feature_cache import records
from rq_jax.data.feature_cache.layout import Path


class Features:
  """Random access to the features of a split, memory-mapped.

  Attributes:
    fingerprint: Fingerprint of the tokenizer that encoded the features.
    shape: Shape of the features of one view, (H, W, C).
    views: Number of views of each image, V.
    num_classes: Number of classes; labels lie in [0, num_classes). If the cache
      does not record it, one more than the largest label.
    class_names: Names of the classes by label; None if the cache has none.
    has_texts: Whether each example has a text.
    remarks: A sentence for the user if single views have no checksums.
    listing: None, because `fingerprint` identifies the features.
  """

  listing = None

  def __init__(self, path: Path | None, split: str):
    """Opens a split, 'train' or 'test', of the cache at `path`.

    Raises:
      ValueError: If the split is missing, unfinished, damaged, or has another
        format version.
    """
    folder, meta = records.read_meta(path, split)
    self._opened = (path, split)
    self.fingerprint: str = meta['fingerprint']
    self.shape: tuple[int, ...] = tuple(meta['shape'])
    self.views: int = meta['views']
    names = meta['class_names']
    self.class_names: tuple[str, ...] | None = names and tuple(names)
    self.has_texts: bool = meta['texts']
    self._shards = reader.open_shards(folder, meta)
    self.remarks = _remarks(folder, self._shards)
    labels = [shard.label for shard in self._shards]
    self._ends = np.cumsum([len(label) for label in labels]).tolist()
    recorded = meta.get('num_classes')
    self.num_classes: int = (
        _count_classes(folder, labels) if recorded is None else recorded
    )

  def __reduce__(self):
    """Lets worker processes map the files again instead of copying them."""
    return type(self), self._opened

  def __len__(self) -> int:
    """Number of examples in the split."""
    return self._ends[-1]

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'features', a sequence of V float16[H, W, C], and 'label', int32[].

    The features are a part of the memory map, so views that are not used are
    not read. Reading a view raises a ValueError if it is damaged; see
    `checksums.Views`.
    """
    shard, row = self._find(index)
    views: Any = shard.features[row]
    if shard.checksum is not None:
      where = f'{shard.file}, row {row}'
      views = checksums.Views(views, shard.checksum[row], where)
    return {'features': views, 'label': shard.label[row]}

  def text(self, index: int) -> str:
    """The text of an example.

    Raises:
      ValueError: If the cache has no texts.
    """
    shard, row = self._find(index)
    if shard.text is None or shard.text_offsets is None:
      path, split = self._opened
      raise ValueError(
          f'{path} ({split}) has no texts, because it was encoded from data'
          f' without texts. Encode data with texts with {layout.COMMAND}.'
      )
    start, end = shard.text_offsets[row : row + 2]
    return shard.text[start:end].tobytes().decode(errors='surrogatepass')

  def _find(self, index: int) -> tuple[reader.Shard, int]:
    """The shard of an example, and its row there."""
    if not 0 <= index < len(self):
      raise IndexError(
          f'Example {index} is out of range: there are {len(self)} examples.'
      )
    number = bisect.bisect_right(self._ends, index)
    shard = self._shards[number]
    return shard, index - (self._ends[number] - len(shard.label))


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
    _, meta = records.read_meta(path, split)
    if (encoder := meta['fingerprint']) != fingerprint:
      raise ValueError(
          f'{path} ({split}) was encoded by tokenizer {encoder}, not'
          f' {fingerprint}, but stage 2 needs the tokenizer that encoded its'
          f' data. Set --config.tokenizer to that one, or encode again with'
          f' {layout.COMMAND}.'
      )


def _remarks(
    folder: pathlib.Path, shards: list[reader.Shard]
) -> tuple[str, ...]:
  if all(shard.checksum is not None for shard in shards):
    return ()
  return (
      f'{folder} has no checksums of features, because an earlier version wrote'
      ' it. Damage in its features is not noticed. Encode again with'
      f' {layout.COMMAND} to get checksums.',
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
