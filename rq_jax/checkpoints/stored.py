"""Restores models for inference, from runs and from inference copies.

Both are folders with `config.json`, the experiment, and `checkpoints/<step>/`,
see `runs`. The state of an inference copy has only parameters and codebook.
"""

import contextlib
import functools
from typing import Any

from etils import epath
import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp

from rq_jax import config as config_lib
from rq_jax import files
from rq_jax.checkpoints import manifests
from rq_jax.checkpoints import reading
from rq_jax.checkpoints import steps
from rq_jax.config import Experiment
from rq_jax.config import RQTransformerConfig
from rq_jax.config import RQVAEConfig
from rq_jax.typing import PyTree, Variables

_STAGES = {1: 'an RQ-VAE (stage 1)', 2: 'an RQ-Transformer (stage 2)'}


def folder(path: epath.PathLike, *, name: str = 'path') -> epath.Path:
  """The folder that a path names, with `~` expanded.

  Raises:
    ValueError: If the path is empty; the message names the argument `name`.
  """
  return epath.Path(files.path(path, name))


def write_config(workdir: epath.PathLike, config: Experiment) -> None:
  """Writes `config.json`; the file appears whole or not at all."""
  with files.whole(epath.Path(workdir) / 'config.json') as file:
    file.write(config_lib.to_json(config).encode())


def read_config(
    path: epath.PathLike, *, stage: int | None = None
) -> Experiment:
  """Reads the experiment that a folder holds.

  Args:
    path: A run's folder, or an inference copy.
    stage: The required stage: 1 for an RQ-VAE, 2 for an RQ-Transformer; None
      for either.

  Raises:
    ValueError: If there is no experiment, or one of the other stage.
  """
  return _read(path, stage, config_lib.parse_stored)


def read_rqvae(path: epath.PathLike) -> RQVAEConfig:
  """Reads only the description of the RQ-VAE that a folder holds.

  Args:
    path: A run's folder, or an inference copy.

  Raises:
    ValueError: If there is no experiment, or one of stage 2.
  """
  return _read(path, 1, config_lib.parse_model)


def read_rqtransformer(path: epath.PathLike) -> RQTransformerConfig:
  """Reads only the description of the RQ-Transformer, see `read_rqvae`."""
  return _read(path, 2, config_lib.parse_model)


def _read(path: epath.PathLike, stage: int | None, parse: Any) -> Any:
  """Reads a folder's `config.json` with `parse`."""
  path = folder(path)
  file = path / 'config.json'
  if not file.exists():
    raise ValueError(
        f'{path} holds no config.json. It is neither the --workdir of a run nor'
        f' a converted checkpoint. {_inside(file.parent, stage)}'
    )
  raw = files.read_json_object(file)
  try:
    found = parse(raw)
  except ValueError as error:
    raise ValueError(f'{file} is not a valid experiment. {error}') from error
  if stage not in (None, raw['stage']):
    raise ValueError(
        f'{path} holds {_STAGES[raw["stage"]]}, but {_STAGES[stage]} is needed.'
        ' Change the path.'
    )
  return found


def _inside(folder: epath.Path, stage: int | None) -> str:
  """Advice for a folder without a model; lists models in its subfolders."""
  files_inside = folder.glob('*/config.json') if folder.is_dir() else ()
  found = []
  for file in sorted(files_inside):
    with contextlib.suppress(ValueError, OSError):
      of = files.read_json_object(file).get('stage')
      if of in _STAGES and stage in (None, of):
        found.append(f'{file.parent}, {_STAGES[of]}')
  if not found:
    return 'Check the path.'
  return f'Give the path of a model in it: {"; ".join(found)}.'


def restore_variables(
    path: epath.PathLike,
    abstract: Variables,
    *,
    step: int | None = None,
    ema: bool = True,
    dtype: str | None = None,
    sharding: jax.sharding.Sharding | PyTree | None = None,
    verify: bool = True,
) -> tuple[Variables, str]:
  """Restores the variables of a model for inference.

  Args:
    path: A run's folder, or an inference copy.
    abstract: Shapes of the variables: 'params' and other collections.
    step: Step of the checkpoint; None for the newest that can be restored.
      Newer ones that cannot be restored are reported.
    ema: Whether to use the averaged parameters, if the run kept averages.
    dtype: Dtype of the parameters; None for that of the checkpoint. Codebooks
      keep theirs.
    sharding: Sharding of all variables, or a tree with one for each; None for
      one device.
    verify: Whether to compare the arrays and the files of the folder with the
      manifest that was saved with them, see `manifests`.

  Returns:
    The variables, and a phrase that describes which ones were restored.

  Raises:
    ValueError: If there is no such checkpoint, or it is of another model.
  """
  path = files.path(path, 'path')
  restored = {}

  def problem(step: int) -> str | None:
    try:
      found = steps.described(path, step, verify=verify)
      if found.manifest is not None:
        manifests.check_beside(found.manifest, path)
    except Exception as error:
      return _reason(error)
    names = _names(path, found.arrays, abstract, ema)
    try:
      variables = _restore(
          path, step, abstract, names, sharding, found.manifest
      )
    except Exception as error:
      return _reason_to_go_on(path, step, error)
    restored[step] = variables, names['params'] != 'params'
    return None

  step = steps.find(path, step, problem)
  variables, averaged = restored[step]
  if dtype is not None:
    variables['params'] = jax.tree.map(
        lambda p: p.astype(jnp.dtype(dtype)), variables['params']
    )
  kind = 'averaged parameters' if averaged else 'parameters'
  of_step = f' of step {step}' if step else ''  # Inference copies are of 0.
  return variables, f'{kind}{of_step} from {path}'


def _reason(error: Exception) -> str:
  """Returns what is damaged, and how to use it nevertheless if possible."""
  reason = steps.damage(error)
  if isinstance(error, manifests.ChangedError):
    return f'{reason} (verify=False restores it as it is)'
  return reason


def _reason_to_go_on(path, step: int, error: Exception) -> str:
  """Returns what is damaged; raises it if there are several processes."""
  reason = _reason(error)
  if jax.process_count() == 1:
    return reason
  raise ValueError(  # All processes must restore the same step.
      f'Checkpoint {step} of {path} cannot be read: {reason}. Choose another'
      ' step, or move this checkpoint elsewhere.'
  ) from error


def _names(
    path, saved: PyTree, abstract: Variables, ema: bool
) -> dict[str, str]:
  """Names of a model's collections in a checkpoint.

  Raises:
    ValueError: If the checkpoint is of another model.
  """
  averaged = ema and saved.get('ema_params') is not None
  names = {name: name for name in abstract}
  names['params'] = 'ema_params' if averaged else 'params'
  target = {names[name]: tree for name, tree in abstract.items()}
  _check_shapes(path, target, saved)
  return names


def _restore(
    path,
    step: int,
    abstract: Variables,
    names: dict[str, str],
    sharding,
    manifest: manifests.Manifest | None,
) -> Variables:
  """Reads the arrays of one checkpoint; see `restore_variables`."""
  target = {names[name]: tree for name, tree in abstract.items()}
  sharding = sharding or jax.sharding.SingleDeviceSharding(
      jax.local_devices()[0]
  )
  if not isinstance(sharding, jax.sharding.Sharding):
    sharding = {names[name]: tree for name, tree in sharding.items()}
  else:
    sharding = jax.tree.map(lambda _: sharding, target)
  restored = reading.read(path, step, target, sharding, manifest, partial=True)
  if manifest is not None:
    manifests.check_arrays(manifest, manifests.flat(restored))
  restored = reading.cast(restored, target)
  return {name: restored[names[name]] for name in abstract}


def has_collection(
    path: epath.PathLike,
    name: str,
    *,
    step: int | None = None,
    verify: bool = True,
) -> bool:
  """Whether a checkpoint, the newest by default, has variables of this name."""
  judge = functools.partial(steps.problem, path, verify=verify)
  step = steps.find(path, step, judge)
  return bool(steps.described(path, step, verify=verify).arrays.get(name))


def _check_shapes(path, target: PyTree, saved: PyTree) -> None:
  """Compares the shapes that a model needs with those of a checkpoint."""
  needed, found = _shapes(target), _shapes(saved)
  for name, shape in needed.items():
    if found.get(name) != shape:
      has = f'has {found[name]}' if name in found else 'has none'
      raise ValueError(
          f'The checkpoint in {path} is of another model: {name} should be'
          f' {shape}, but it {has}. Its config.json and its checkpoints belong'
          ' to different runs. Restore the pair that was written together.'
      )


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
  state = flax.serialization.to_state_dict(tree)
  flat: dict[str, Any] = flax.traverse_util.flatten_dict(state, sep='.')
  return {
      name: tuple(leaf.shape)
      for name, leaf in flat.items()
      if hasattr(leaf, 'shape')
  }
