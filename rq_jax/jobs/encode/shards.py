"""The shards of both splits of a dataset, which `encode` encodes."""

import dataclasses
from typing import Any

import numpy as np

from rq_jax.config import rules
from rq_jax.config import sections
from rq_jax.config import sizes
from rq_jax.data import sources
from rq_jax.data import views as views_lib
from rq_jax.data.feature_cache import layout
from rq_jax.data.sources import splits
from rq_jax.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """Some examples of a split.

  Attributes:
    examples: All examples of the split, with their views.
    split: The split as it is laid out in the cache.
    number: Index of this shard in its split.
  """

  examples: views_lib.Views
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
    return self.examples[self.rows[int(index)]]

  def described(self) -> dict[str, Any]:
    """All values that decide the bytes of the whole split; see `manifest`."""
    return {
        'examples': self.split.num_examples,
        'classes': self.split.num_classes,
        'shards': self.split.num_shards,
        'files': self.examples.source.listing,
    }


def open_splits(
    data: sections.Data, *, image_size: sizes.ImageSize, views: int
) -> dict[str, sources.Source]:
  """Opens both splits of a dataset.

  Args:
    data: The section `data` of an experiment.
    image_size: Size of the images that the tokenizer encodes.
    views: Number of views of each training image.

  Raises:
    ValueError: If the data source has no images, or images of another size, or
      if the views are not possible.
  """
  rules.check_images(data)
  views_lib.check(data, count=views)
  sizes.check_encodable(data.image_size, image_size)
  return {name: sources.open_source(data, name) for name in splits.SPLITS}


def of(
    opened: dict[str, sources.Source],
    tokenizer: Tokenizer,
    data: sections.Data,
    out: str,
    *,
    views: int,
    seed: int,
) -> list[Shard]:
  """The shards of both splits, in order.

  Args:
    opened: Both splits, as `open_splits` returns them.
    tokenizer: The encoder.
    data: The section `data` of an experiment.
    out: Folder of the cache.
    views: Number of views of each training image; see `views.of`. A held-out
      image always has a single view, its center.
    seed: Seed of the views.
  """
  shape = tokenizer.model.features_shape
  found = []
  for name, source in opened.items():
    count = views if name == 'train' else 1
    split = layout.Split(
        path=out,
        name=name,
        num_examples=len(source),
        shape=shape,
        num_classes=source.num_classes,
        fingerprint=tokenizer.fingerprint,
        num_shards=layout.count_shards(len(source), shape, count),
        views=count,
        class_names=source.class_names,
        has_texts=sources.texts(source) is not None,
    )
    examples = views_lib.of(source, data, count=count, seed=seed)
    found += [
        Shard(examples=examples, split=split, number=number)
        for number in range(split.num_shards)
    ]
  return found
