"""Keeps the sampling options that a model was released with.

They are in `sampling.json`, beside the `config.json` of a converted model: the
fields of `rq_jax.Sampling` that the released archive sets. Runs have none.
"""

from collections.abc import Mapping
from typing import Any

from etils import epath

from rq_jax import files

FILE = 'sampling.json'


def read(folder: epath.PathLike) -> dict[str, Any]:
  """Reads the options by name; empty if the folder has none.

  Args:
    folder: A run's folder, or an inference copy.

  Raises:
    ValueError: If the file is damaged.
  """
  file = epath.Path(folder) / FILE
  return files.read_json_object(file) if file.exists() else {}


def write(folder: epath.PathLike, options: Mapping[str, Any]) -> None:
  """Writes the options, if there are any.

  Raises:
    DiskFullError: If there is no room for the file.
  """
  if options:
    files.write_json(epath.Path(folder) / FILE, dict(options))
