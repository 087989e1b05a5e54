"""Writes our checkpoints in the official layout, without PyTorch."""

import collections
from collections.abc import Mapping
import importlib.util
import pathlib
from typing import Any

import numpy as np
import yaml

from rq_jax import files
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import sampling_options
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.config import RQVAEExperiment
from rq_jax.conversion import mapping
from rq_jax.conversion import official_model
from rq_jax.conversion import tables
from rq_jax.conversion.configs import writer
from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import writing
from rq_jax.distributed import console
from rq_jax.distributed import progress
from rq_jax.jobs.convert import from_official
from rq_jax.jobs.convert import output


def to_official(
    src: str,
    dst: str,
    *,
    layout: str = 'official',
    step: int | None = None,
    ema: bool = True,
) -> None:
  """Writes `stage1/` and, for an RQ-Transformer, `stage2/`, as in the archives.

  Each holds `config.yaml` and `model.pt` or `model.safetensors`, with arrays
  under official names and in official layouts. The layout 'safetensors' takes
  any model: one that the official code cannot build is described by our
  `config.json` in place of `config.yaml`. `classes.json` is copied, if there is
  one.

  Args:
    src: Workdir of a run, or a converted checkpoint.
    dst: Folder to write; it appears whole or not at all.
    layout: 'official' or 'safetensors'.
    step: Step of the checkpoint; None for the newest.
    ema: Whether to export the averaged parameters, if the run has them.

  Raises:
    ValueError: If `src` holds no model, the layout is 'official' and the
      official code cannot build the model, or the layout is 'safetensors' and
      that package is not installed.
  """
  src, dst = files.path(src, 'src'), files.path(dst, 'dst')
  config = stored.read_config(src)
  stages = {config.stage: (pathlib.Path(src), step, config)}
  if config.stage == 2:
    tokenizer = pathlib.Path(src) / 'tokenizer'
    stages[1] = (tokenizer, None, stored.read_config(tokenizer))
  # All refusals come before anything is written.
  if layout == 'safetensors' and not importlib.util.find_spec('safetensors'):
    raise ValueError(
        '--to=safetensors needs the package safetensors, which is not'
        ' installed. Run: pip install safetensors. Or use --to=official, which'
        ' does not need it.'
    )
  if layout == 'official':
    writer.check(*(stages[stage][2].model for stage in sorted(stages)))
  with output.written_whole(dst) as partial:
    for stage in sorted(stages):
      _write(*stages[stage], partial / f'stage{stage}', layout, ema)
  console.tell(f'Wrote {dst}.')


def _write(
    src: pathlib.Path,
    step: int | None,
    config: Experiment,
    folder: pathlib.Path,
    layout: str,
    ema: bool,
) -> None:
  discriminator = None
  is_rqvae = isinstance(config, RQVAEExperiment)
  if is_rqvae and stored.has_collection(src, 'disc_params'):
    discriminator = config.discriminator
  abstract, rows = official_model.model_table(config.model, discriminator)
  variables, found = stored.restore_variables(src, abstract, step=step, ema=ema)
  console.tell(f'{from_official.kind(config)}: {found}.')
  leaves = mapping.flatten(variables)
  arrays = dict(mapping.to_theirs(rows, leaves.__getitem__))
  del variables, leaves  # So that each array is freed once it is copied.
  files.require_space(folder, sum(array.nbytes for array in arrays.values()))
  folder.mkdir(parents=True)
  _describe(
      folder, config, discriminator is not None, sampling_options.read(src)
  )
  class_names.write(folder, class_names.read(src))
  if layout == 'official':
    tree = _tree(arrays)
    writing.write(folder / 'model.pt', tree)
    _compare_torch(folder / 'model.pt', tree)
  else:
    _write_safetensors(folder / 'model.safetensors', arrays)


def _describe(
    folder: pathlib.Path,
    config: Experiment,
    discriminator: bool,
    sampling: Mapping[str, Any],
) -> None:
  """Writes `config.yaml`, or our JSON files if that cannot be."""
  if writer.obstacles(config.model):
    console.tell(
        f'The official code cannot build this {from_official.kind(config)}:'
        ' config.json describes it in place of config.yaml.'
    )
    stored.write_config(folder, config)
    sampling_options.write(folder, sampling)
  else:
    raw = writer.write(config, discriminator=discriminator, sampling=sampling)
    (folder / 'config.yaml').write_text(yaml.safe_dump(raw, sort_keys=False))


def _tree(
    arrays: Mapping[str, np.ndarray],
) -> dict[str, collections.OrderedDict[str, np.ndarray]]:
  """State dicts as in a `.pt` file, with a separate one for a discriminator."""
  parts = {'state_dict': collections.OrderedDict()}
  for name in sorted(arrays, key=tables.official_order):
    part = 'discriminator' if name.startswith('main.') else 'state_dict'
    parts.setdefault(part, collections.OrderedDict())[name] = arrays[name]
  return parts


def _compare_torch(path: pathlib.Path, tree: Mapping[str, Mapping]) -> None:
  """Reads the written file, and compares it with the intended arrays."""
  with reading.TorchFile(path) as file:
    for part, arrays in tree.items():
      for name, array in progress.bar(
          iterable=arrays.items(), desc='comparing'
      ):
        _require_same(path, name, array, file.read(file.tree[part][name]))


def _write_safetensors(
    path: pathlib.Path, arrays: dict[str, np.ndarray]
) -> None:
  """Writes all arrays to one file, reads it, and compares them.

  Makes the arrays contiguous, in place, because the format requires it.
  """
  import safetensors
  from safetensors import numpy as safetensors_numpy

  for name in arrays:
    arrays[name] = np.ascontiguousarray(arrays[name])
  safetensors_numpy.save_file(arrays, path)
  with safetensors.safe_open(path, framework='numpy') as file:
    for name, array in progress.bar(iterable=arrays.items(), desc='comparing'):
      _require_same(path, name, array, file.get_tensor(name))


def _require_same(path, name, array, written) -> None:
  if not mapping.same_bits(array, written):
    raise ValueError(
        f'{path}: {name} differs from the array that was to be written. The'
        ' disk may be failing. Choose --dst on another disk.'
    )
