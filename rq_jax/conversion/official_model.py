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
from rq_jax.conversion import archive
from rq_jax.conversion import mapping
from rq_jax.conversion import tables
from rq_jax.conversion.configs import reader
from rq_jax.conversion.torch_format import reading
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.typing import PyTree, Variables

# Called with the number of bytes of each array, before it is read.
Progress = Callable[[int], object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfficialModel:
  """A model in an open official file.

  Attributes:
    source: Path of the file.
    config: The experiment that its `config.yaml` describes.
    unknown: Fields of the architecture in `config.yaml` that rq_jax does not
      know.
    sampling: Options for draws in `config.yaml`, see `reader.Description`.
    abstract: Shapes of our variables, including those of the discriminator if
      the file has one.
    rows: The table of official names and ours.
    file: The opened file, from which arrays are read.
    tensors: The official arrays by name, not read yet.
  """

  source: pathlib.Path
  config: Experiment
  unknown: tuple[str, ...]
  sampling: Mapping[str, Any]
  abstract: PyTree
  rows: list[tables.Row]
  file: reading.TorchFile
  tensors: Mapping[str, reading.LazyTensor]

  @property
  def nbytes(self) -> int:
    """Bytes of all official arrays."""
    return sum(t.nbytes for t in self.tensors.values())

  def arrays(self, progress: Progress) -> Iterator[tuple[str, np.ndarray]]:
    """Reads and converts all arrays, row by row; yields our path and array."""

    def read(name: str) -> np.ndarray:
      tensor = self.tensors[name]
      progress(tensor.nbytes)
      return self.file.read(tensor)

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
            f'{self.source}: {name} has numbers that are not finite. The file'
            ' is damaged, or the training had diverged. Download or copy it'
            ' again.'
        )
      leaves[name] = array
    return mapping.unflatten(self.abstract, leaves)


@contextlib.contextmanager
def open_model(
    path: pathlib.Path, *, ema: bool = False
) -> Iterator[OfficialModel]:
  """Opens an official checkpoint with the `config.yaml` beside it.

  Args:
    path: The file of `torch.save`.
    ema: Whether to read the averaged parameters.

  Raises:
    ValueError: If either file is missing or damaged, or if they do not belong
      together.
  """
  file = path.with_name('config.yaml')
  if not file.exists():
    raise ValueError(
        f'{path} has no config.yaml beside it, so its architecture is unknown.'
        ' Put the config.yaml that was released with the weights there.'
    )
  description = reader.read(archive.read_config(file), str(file))
  with reading.TorchFile(path) as file:
    parts = _state_dicts(file.tree, path, ema)
    if not description.discriminator:
      parts.pop('discriminator', None)
    config = description.config
    discriminator = None
    if 'discriminator' in parts and isinstance(config, RQVAEExperiment):
      discriminator = config.discriminator
    abstract, rows = model_table(config.model, discriminator)
    tensors = {n: t for part in parts.values() for n, t in part.items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    mapping.check(rows, mapping.shapes(abstract), found, path)
    yield OfficialModel(
        source=path,
        config=config,
        unknown=description.unknown,
        sampling=description.sampling,
        abstract=abstract,
        rows=rows,
        file=file,
        tensors=tensors,
    )


def _state_dicts(tree: Any, path, ema: bool) -> dict[str, dict[str, Any]]:
  """The state dicts of the model and, if there is one, the discriminator."""
  key = 'state_dict_ema' if ema else 'state_dict'
  if not isinstance(tree, Mapping) or tree.get(key) is None:
    has = sorted(map(str, tree)) if isinstance(tree, Mapping) else type(tree)
    hint = 'Leave out --ema.' if ema else 'Give an official checkpoint.'
    raise ValueError(f'{path} has no {key}; it holds {has}. {hint}')
  parts = {'model': tree[key]}
  if tree.get('discriminator') is not None:
    parts['discriminator'] = tree['discriminator']
  for part in parts.values():
    entries = part.items() if isinstance(part, Mapping) else [('?', part)]
    for name, value in entries:
      if not isinstance(value, reading.LazyTensor):
        raise ValueError(
            f'{path}: {name} should be a tensor. Give an official checkpoint.'
        )
  return parts


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
