"""Images of a model: drawn, reconstructed, or those that it was trained on."""

import dataclasses
from typing import Any

from etils import epath

from rq_jax import compilation
from rq_jax.checkpoints import stored
from rq_jax.config import sections
from rq_jax.config import source_table
from rq_jax.jobs.evaluate import drawn_images
from rq_jax.jobs.evaluate import listed_images
from rq_jax.jobs.evaluate import opening
from rq_jax.jobs.inspect import detection
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.tokenizer import Tokenizer


def drawn(
    drawing: drawing_lib.Drawing, origin: dict[str, Any]
) -> drawn_images.Drawn:
  """Images that a model draws.

  Args:
    drawing: The images to draw.
    origin: Origin of the model, as returned by `drawing.restore`.

  Raises:
    ValueError: If the model does not take the conditions or the options.
  """
  drawing.check()
  return drawn_images.of_checkpoint(drawing, origin)


def reconstructed(
    tokenizer: str, split: str, *, data: str | None = None
) -> tuple[listed_images.Listed, drawn_images.Reconstructed]:
  """Images of a split, and their reconstructions by a tokenizer.

  Args:
    tokenizer: Workdir of an RQ-VAE, or a converted checkpoint.
    split: 'train' or 'test'.
    data: Folder of a dataset; None for the one it was trained on.

  Raises:
    ValueError: If there is no such tokenizer or split.
  """
  compilation.keep()
  stored.read_rqvae(tokenizer)  # An error if it is no RQ-VAE.
  if data is None:
    originals = split_of(tokenizer, split)
  else:
    section = dataclasses.replace(
        _data_of(tokenizer),
        source=detection.source_of(data),
        path=data,
    )
    originals = opening.open_split(
        section, split, flag=f'--data={data}', image_size=section.image_size
    )
  restored = Tokenizer.restore(tokenizer)
  return originals, drawn_images.of_tokenizer(tokenizer, restored, originals)


def split_of(model: str, split: str) -> listed_images.Listed:
  """A split of the images that a model was trained on, as it saw them.

  Args:
    model: Workdir of a run of either stage, or a converted checkpoint.
    split: 'train' or 'test'.

  Raises:
    ValueError: If the model does not record its images, or they are not there.
  """
  data = _data_of(model)
  if source_table.SOURCES[data.source].needs_path:
    if data.path is None:
      raise ValueError(
          f'{model} does not record the images it was trained on. Name a'
          ' dataset and its split instead, as FOLDER:SPLIT, or with --data.'
      )
    if not epath.Path(data.path).exists():
      raise ValueError(
          f'{model} was trained on {data.path}, which does not exist here. Name'
          ' a dataset and its split instead, as FOLDER:SPLIT, or with --data.'
      )
  return opening.open_split(
      data, split, flag=f'the {split} split', image_size=data.image_size
  )


def _data_of(model: str) -> sections.Data:
  """The section `data` of a model's tokenizer, at the size of its images."""
  own = epath.Path(model) / 'tokenizer'
  folder = str(own) if own.is_dir() else model
  size = stored.read_rqvae(folder).image_size
  data = stored.read_config(folder, stage=1).data
  return dataclasses.replace(data, image_size=size)
