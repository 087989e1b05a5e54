"""Opens a model in an official file and reads its arrays in our layout."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import pathlib
from typing import Any

import numpy as np

from rq_jax.config import DiscriminatorConfig
from rq_jax.config import Experiment
from rq_jax.config import RQTransformerConfig
from rq_jax.config import RQVAEConfig
from rq_jax.config import RQVAEExperiment
from rq_jax.config import sizes
from rq_jax.conversion import mapping
from rq_jax.conversion import state_dicts
from rq_jax.conversion import tables
from rq_jax.conversion import unwrapping
from rq_jax.conversion.configs import beside
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.typing import PyTree, Variables

# Called with the number of bytes of each array, before it is read.
Progress = Callable[[int], object]

_DISCRIMINATOR = 'discriminator'


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfficialModel:
  """A model in an open official file.

  Attributes:
    state: Its official arrays, not read yet, with those of the discriminator.
    config: The experiment that its `config.yaml` describes.
    unknown: Fields of the architecture in `config.yaml` that rq_jax does not
      know.
    sampling: Options for draws in `config.yaml`, see `reader.Description`.
    abstract: Shapes of our variables, including those of the discriminator if
      the file has one.
    rows: The table of official names and ours.
  """

  state: state_dicts.StateDict
  config: Experiment
  unknown: tuple[str, ...]
  sampling: Mapping[str, Any]
  abstract: PyTree
  rows: list[tables.Row]

  @property
  def nbytes(self) -> int:
    """Bytes of all official arrays."""
    return sum(t.nbytes for t in self.state.tensors.values())

  def arrays(self, progress: Progress) -> Iterator[tuple[str, np.ndarray]]:
    """Reads and converts all arrays, row by row; yields our path and array."""

    def read(name: str) -> np.ndarray:
      progress(self.state.tensors[name].nbytes)
      return self.state.read(name)

    flat = mapping.flatten(self.abstract)
    dtypes = {name: leaf.dtype for name, leaf in flat.items()}
    return mapping.to_ours(self.rows, read, dtypes)

  def variables(self, progress: Progress) -> Variables:
    """Reads the variables of the model into host memory.

    Raises:
      ValueError: If a number is not finite.
    """
    leaves = {}
    for name, array in self.arrays(progress):
      if not np.all(np.isfinite(array)):
        raise ValueError(
            f'{self.state.source}: {name} has numbers that are not finite. The'
            ' file is damaged, or the training had diverged. Download or copy'
            ' it again.'
        )
      leaves[name] = array
    return mapping.unflatten(self.abstract, leaves)


@contextlib.contextmanager
def open_model(
    path: pathlib.Path, *, ema: bool = False
) -> Iterator[OfficialModel]:
  """Opens an official checkpoint with the description beside it.

  Args:
    path: A file of `torch.save`, with its `config.yaml` in the same folder; or
      a safetensors file of `convert --to=safetensors`, which may have our
      `config.json` there instead.
    ema: Whether to read the averaged parameters.

  Raises:
    ValueError: If either file is missing or damaged, or if they do not belong
      together.
  """
  description = beside.read(beside.find(path))
  config = description.config
  with state_dicts.open_file(path) as file:
    found, discriminator = _parts(
        file, ema=ema, discriminator=description.discriminator
    )
    tensors = {**found.tensors, **discriminator}
    state = state_dicts.StateDict(path, tensors, found.sentence(), file)
    kind = None
    if discriminator and isinstance(config, RQVAEExperiment):
      kind = config.discriminator
    abstract, rows = model_table(config.model, kind)
    try:
      mapping.check(rows, mapping.shapes(abstract), state.shapes, path)
    except ValueError as error:
      raise ValueError(f'{error} {state.unwrapped}'.rstrip()) from error
    yield OfficialModel(
        state=state,
        config=config,
        unknown=description.unknown,
        sampling=description.sampling,
        abstract=abstract,
        rows=rows,
    )


def _parts(
    file: state_dicts.WeightsFile, *, ema: bool, discriminator: bool
) -> tuple[unwrapping.Found, Mapping[str, unwrapping.Tensor]]:
  """The state dicts of the model and of its discriminator, which may be {}."""
  tree, part = file.tree, None
  if discriminator and isinstance(tree, Mapping):
    part = tree.get(_DISCRIMINATOR)
  if isinstance(part, Mapping):
    tree = {key: value for key, value in tree.items() if value is not part}
    where = f'{file.path} -> {_DISCRIMINATOR}'
    return (
        unwrapping.unwrap(tree, file.path, averages=ema),
        unwrapping.unwrap(part, where).tensors,
    )
  found = unwrapping.unwrap(tree, file.path, averages=ema)
  # Safetensors have no parts, but a discriminator has names of its own.
  names = [n for n in found.tensors if discriminator and n.startswith('main.')]
  own = {n: t for n, t in found.tensors.items() if n not in names}
  return (
      dataclasses.replace(found, tensors=own),
      {name: found.tensors[name] for name in names},
  )


def model_table(
    description: RQVAEConfig | RQTransformerConfig,
    discriminator: DiscriminatorConfig | None = None,
) -> tuple[PyTree, list[tables.Row]]:
  """Shapes of the variables of a model, and its table.

  Args:
    description: Description of the model.
    discriminator: Description of the discriminator of an RQ-VAE; None to leave
      the discriminator out.
  """
  if isinstance(description, RQVAEConfig):
    model = build.rqvae(description)
    abstract = partitioning.unbox(build.rqvae_variables(model))
    shapes = mapping.shapes(abstract)
    rows = tables.rqvae(shapes, depth=description.code_shape[2])
    if discriminator is not None:
      abstract = abstract | _abstract_discriminator(
          discriminator, description.image_size
      )
      rows = rows + tables.discriminator(
          layers=discriminator.layers, norm=discriminator.norm
      )
  else:
    prior = build.rqtransformer(description)
    abstract = partitioning.unbox(build.rqtransformer_variables(prior))
    shapes = mapping.shapes(abstract)
    rows = tables.rqtransformer(shapes, heads=prior.heads, sizes=prior.sizes)
  return abstract, rows


def _abstract_discriminator(
    description: DiscriminatorConfig, image_size: sizes.ImageSize
) -> PyTree:
  """Shapes of a discriminator, under the names of stage 1's state."""
  model = build.discriminator(description)
  made = partitioning.unbox(build.discriminator_variables(model, image_size))
  return {'disc_params': made['params'], 'disc_stats': made['batch_stats']}
