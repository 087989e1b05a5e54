"""Draws many images in chunks of one size, and writes them."""

from collections.abc import Sequence
import json
import math

from etils import epath
import jax
import numpy as np
import tqdm

from rq_jax.data import images as images_lib
from rq_jax.models import rqtransformer
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling


def labels_in_turn(
    prior: rqtransformer.RQTransformer,
    labels: Sequence[int] | None,
    num_images: int,
) -> np.ndarray | None:
  """Labels of `num_images` images: those given, or all classes, in turn.

  Raises:
    ValueError: If labels are given to a model that takes none, or if the model
      takes texts.
  """
  if prior.text_vocab_size:
    raise ValueError(
        'This model draws from texts, which this command does not take yet;'
        ' call Sampler(key, tokens=...) in Python.'
    )
  if not prior.num_classes:
    if labels is not None:
      raise ValueError(
          'This model is unconditional and takes no labels. Leave out --labels.'
      )
    return None
  given = range(prior.num_classes) if labels is None else labels
  return np.resize(np.asarray(given, np.int32), num_images)


def draw(
    sampler: Sampler,
    seed: int,
    *,
    num_images: int,
    labels: np.ndarray | None = None,
    sampling: Sampling | None = None,
    chunk_size: int = 100,
) -> np.ndarray:
  """Draws images: -> uint8[num_images, S, S, 3].

  Args:
    sampler: The generator.
    seed: All draws derive from it; image i also from i alone.
    num_images: How many.
    labels: A class for each, int32[num_images]; None for an unconditional
      model.
    sampling: How to draw; as the sampler does if None.
    chunk_size: Images computed at a time. The last chunk is padded, so that all
      of them run the same program.

  Raises:
    ValueError: If a label is out of range.
  """
  chunks = []
  key = jax.random.key(seed)
  with tqdm.tqdm(total=num_images, unit='image', desc='sample') as bar:
    for start in range(0, num_images, chunk_size):
      if labels is None:
        condition = {'num_images': chunk_size}
      else:
        rows = np.minimum(start + np.arange(chunk_size), num_images - 1)
        condition = {'labels': labels[rows]}
      drawn = sampler(key, sampling=sampling, first_index=start, **condition)
      chunks.append(np.asarray(drawn[: num_images - start]))
      bar.update(len(chunks[-1]))
  return np.concatenate(chunks)


def write(
    out: str, images: np.ndarray, labels: np.ndarray | None = None
) -> None:
  """Writes 000000.png, 000001.png, ..., grid.png and labels.json.

  Args:
    out: Folder to write to.
    images: uint8[N, S, S, 3].
    labels: Their classes, int32[N], if there are any.
  """
  folder = epath.Path(out)
  for i, image in enumerate(images):
    images_lib.write_png(folder / f'{i:06d}.png', image)
  columns = math.ceil(math.sqrt(len(images)))
  images_lib.write_png(
      folder / 'grid.png', images_lib.grid(images, columns=columns)
  )
  if labels is not None:
    (folder / 'labels.json').write_text(json.dumps(labels.tolist()))
