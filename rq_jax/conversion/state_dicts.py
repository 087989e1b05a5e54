"""Opens files of weights of any kind, and the state dicts in them."""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import os
import pathlib

import numpy as np

from rq_jax.conversion import file_kinds
from rq_jax.conversion import safetensors_format
from rq_jax.conversion import unwrapping
from rq_jax.conversion.torch_format import reading

WeightsFile = reading.TorchFile | safetensors_format.SafetensorsFile


@dataclasses.dataclass(frozen=True)
class StateDict:
  """The tensors of a model in an open file.

  Attributes:
    source: Path of the file.
    tensors: The tensors by name, without the prefixes that were removed; each
      has a `shape`, a `dtype` and `nbytes`.
    unwrapped: What was taken from the file and what was left out, as a
      sentence; empty if the file holds just these tensors.
    file: The opened file.
  """

  source: pathlib.Path
  tensors: Mapping[str, unwrapping.Tensor]
  unwrapped: str
  file: WeightsFile

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors by name."""
    return {name: tensor.shape for name, tensor in self.tensors.items()}

  def read(self, name: str) -> np.ndarray:
    """The values of a tensor, in its own memory and in C order.

    Raises:
      ValueError: If they are damaged.
    """
    # Each file reads only its own kind of tensors.
    return self.file.read(self.tensors[name])  # type: ignore[arg-type]


@contextlib.contextmanager
def open_state_dict(path: str | os.PathLike) -> Iterator[StateDict]:
  """Opens the state dict in a file; tensors can be read while it is open.

  Args:
    path: A file of `torch.save` of any release, or a safetensors file. Its
      first bytes decide which it is.

  Raises:
    ValueError: If the file is of another kind or damaged, holds no state dict,
      or holds several.
  """
  with open_file(path) as file:
    found = unwrapping.unwrap(file.tree, file.path)
    yield StateDict(file.path, found.tensors, found.sentence(), file)


def open_file(path: str | os.PathLike) -> WeightsFile:
  """Opens a file of weights by its first bytes; a context manager.

  Raises:
    ValueError: If the file is of another kind, or damaged.
  """
  file_kinds.require_file(pathlib.Path(path))
  if reading.is_torch_file(path) or not safetensors_format.is_safetensors(path):
    return reading.TorchFile(path)
  return safetensors_format.SafetensorsFile(path)
