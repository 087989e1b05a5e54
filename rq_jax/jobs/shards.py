"""The shards of both splits of a dataset, which `encode` encodes."""

import dataclasses
from typing import Any

import numpy as np

from rq_jax.config import rules
from rq_jax.config import sections
from rq_jax.config import sizes
from rq_jax.data import sources
from rq_jax.data.feature_cache import layout
from rq_jax.data.sources import splits
from rq_jax.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """Some examples of a split.

  Attributes:
    source: All examples of the split.
    split: The split as it is laid out in the cache.
    number: Index of this shard in its split.
  """

  source: sources.Source
  split: layout.Split
  number: int

  @property
  def rows(self) -> range:
    """Indices of the split's examples that this shard holds."""
    return self.split.rows(self.number)

  def __len__(self) -> int:
    """Number of examples in the shard."""
    return len(self.rows)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """One example, by its index in the shard."""
    return self.source[self.rows[int(index)]]

  def described(self) -> dict[str, Any]:
    """All values that decide the bytes of the whole split; see `manifest`."""
    return {
        'examples': self.split.num_examples,
        'classes': self.split.num_classes,
        'shards': self.split.num_shards,
        'files': self.source.listing,
    }


def open_splits(
    data: sections.Data, *, image_size: sizes.ImageSize
) -> dict[str, sources.Source]:
  """Opens both splits of a dataset.

  Args:
    data: The section `data` of an experiment.
    image_size: Size of the images that the tokenizer encodes.

  Raises:
    ValueError: If the data source has no images, or images of another size.
  """
  rules.check_images(data)
  sizes.check_encodable(data.image_size, image_size)
  return {name: sources.open_source(data, name) for name in splits.SPLITS}


def of(
    opened: dict[str, sources.Source], tokenizer: Tokenizer, out: str
) -> list[Shard]:
  """The shards of both splits, in order.

  Args:
    opened: Both splits, as `open_splits` returns them.
    tokenizer: The encoder.
    out: Folder of the cache.
  """
  shape = tokenizer.model.features_shape
  found = []
  for name, source in opened.items():
    split = layout.Split(
        path=out,
        name=name,
        num_examples=len(source),
        shape=shape,
        num_classes=source.num_classes,
        fingerprint=tokenizer.fingerprint,
        num_shards=layout.count_shards(len(source), shape),
    )
    found += [
        Shard(source=source, split=split, number=number)
        for number in range(split.num_shards)
    ]
  return found
