"""Views of images: crops and flips that depend only on seed, view and index."""

import dataclasses
from typing import Any

import numpy as np

from rq_jax.config import sections
from rq_jax.data import loader
from rq_jax.data import sources


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
  """The examples of a source, each with V views of its image.

  The random numbers of view v of example i depend only on the seed, v and i.
  Processes, workers, shards and restarts therefore do not change any view.

  Attributes:
    source: The examples, with an 'image' each.
    transform: Makes a view of an example.
    count: Number of views, V.
    seed: Seed of all views.
  """

  source: sources.Source
  transform: loader.Transform
  count: int
  seed: int

  def __len__(self) -> int:
    """Number of examples."""
    return len(self.source)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'image', float32[V, Y, X, 3]; 'label'; 'text' if the source has texts."""
    example = self.source[index]
    views = [
        self.transform(example, np.random.default_rng((self.seed, v, index)))
        for v in range(self.count)
    ]
    example = {**example, 'image': np.stack([view['image'] for view in views])}
    if (text := sources.texts(self.source)) is not None:
      example['text'] = np.array(text(index), object)
    return example


def check(data: sections.Data, *, count: int) -> None:
  """Checks the number of views of each image.

  Args:
    data: The section `data` of the experiment, for crops and flips.
    count: Number of views, given as --views.

  Raises:
    ValueError: If there are no views, or all of them would be the same.
  """
  if count < 1:
    raise ValueError(f'--views={count} must be at least 1. Change --views.')
  if count > 1 and data.crop == 'center' and not data.flip:
    raise ValueError(
        f'--views={count} would encode the same view {count} times, because'
        " config.data.crop='center' and config.data.flip=False. Set"
        ' --config.data.crop to random or random_resized, or set'
        ' --config.data.flip, or leave --views out.'
    )


def of(
    source: sources.Source, data: sections.Data, *, count: int, seed: int
) -> Views:
  """Views of the images of a source.

  Args:
    source: The examples.
    data: The section `data` of the experiment, for the size of the images, and
      for crops and flips.
    count: Number of views. A single view is the center of the image; several
      views are cropped and mirrored as in training.
    seed: Seed of the crops and flips.
  """
  transform = loader.image_transform(data, train=count > 1)
  return Views(source=source, transform=transform, count=count, seed=seed)
