"""Saves training states, resumes them, and restores models for inference.

A run's folder holds `config.json`, the experiment, and `checkpoints/<step>/`,
written by Orbax: `state`, everything a training step reads and writes, and
`meta`, what else belongs to that step. The folder of an inference copy looks
the same; its state has parameters and codebook alone.
"""

import json
from typing import Any

from etils import epath
import flax
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from rq_jax import config as config_lib
from rq_jax.config import Config
from rq_jax.typing import PyTree, Variables

# Bytes below which an array that several devices hold is written by one of
# them, instead of a slice by each: there are hundreds of small arrays.
_SLICED_FROM = 2**20


class Checkpoints:
  """The newest `keep` checkpoints of one run, written in the background.

  Use as a context manager: leaving it waits for writes under way. All processes
  of a program take part.
  """

  def __init__(self, workdir: str | epath.Path, *, keep: int):
    folder = epath.Path(workdir).resolve() / 'checkpoints'
    arrays = ocp.type_handlers.ArrayHandler(
        min_slice_bytes_for_replica_parallel=_SLICED_FROM
    )
    registry = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
    )
    self._manager = ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True
        ),
        item_handlers={
            'state': ocp.PyTreeCheckpointHandler(
                type_handler_registry=registry
            ),
            'meta': ocp.JsonCheckpointHandler(),
        },
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._manager.close()

  def latest_step(self) -> int | None:
    """The newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
    """Starts to write a checkpoint; `state` may be donated right after."""
    self._manager.save(
        step,
        args=ocp.args.Composite(
            state=ocp.args.PyTreeSave(jax.tree.map(_without_type, state)),
            meta=ocp.args.JsonSave(meta),
        ),
    )

  def wait(self) -> None:
    """Blocks until all checkpoints are on disk."""
    self._manager.wait_until_finished()

  def restore(
      self, step: int, abstract: PyTree, shardings: PyTree
  ) -> tuple[PyTree, dict[str, Any]]:
    """Restores the state of a step, placed as `shardings` say, and its meta."""
    plain = jax.eval_shape(lambda t: jax.tree.map(_without_type, t), abstract)
    restore_args = jax.tree.map(
        lambda a, s: ocp.ArrayRestoreArgs(
            sharding=s, global_shape=a.shape, dtype=a.dtype
        ),
        plain,
        shardings,
    )
    restored = self._manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.PyTreeRestore(plain, restore_args=restore_args),
            meta=ocp.args.JsonRestore(),
        ),
    )
    state = jax.tree.map(_with_type, restored['state'], abstract)
    return state, restored['meta']


def _is_key(leaf) -> bool:
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_type(leaf):
  """The data of a random key; other arrays as they are."""
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _with_type(leaf, abstract):
  """The random key with this data, where there should be one."""
  return jax.random.wrap_key_data(leaf) if _is_key(abstract) else leaf


def write_config(workdir: str | epath.Path, config: Config) -> None:
  """Writes `config.json`, so that it is there whole or not at all."""
  folder = epath.Path(workdir)
  partial = folder / 'config.json.partial'
  partial.write_text(config_lib.to_json(config))
  partial.replace(folder / 'config.json')


def read_config(path: str | epath.Path, *, stage: int | None = None) -> Config:
  """Reads the experiment that a folder holds.

  Args:
    path: A run's folder, or an inference copy.
    stage: What it must hold: 1, an RQ-VAE; 2, an RQ-Transformer.

  Raises:
    ValueError: If there is none, or of the other stage.
  """
  file = epath.Path(path) / 'config.json'
  if not file.exists():
    raise ValueError(
        f'{path} holds no config.json: it is neither the --workdir of a run nor'
        ' a converted checkpoint. Check the path.'
    )
  config = config_lib.check(json.loads(file.read_text()))
  names = {1: 'an RQ-VAE (stage 1)', 2: 'an RQ-Transformer (stage 2)'}
  if stage not in (None, config.stage):
    raise ValueError(
        f'{path} holds {names[config.stage]}, but {names[stage]} is needed.'
        ' Give the path of that one.'
    )
  return config


def restore_variables(
    path: str | epath.Path,
    abstract: Variables,
    *,
    step: int | None = None,
    ema: bool = True,
    dtype: str | None = None,
    sharding: jax.sharding.Sharding | PyTree | None = None,
) -> tuple[Variables, str]:
  """Restores the variables of a model for inference.

  Args:
    path: A run's folder, or an inference copy.
    abstract: Shapes of the variables: 'params' and other collections.
    step: Which checkpoint; the newest if None.
    ema: Whether to take the averaged parameters, where the run kept them.
    dtype: Of the parameters; None for as they were saved. Codebooks stay.
    sharding: Where to place them, for all or for each; one device if None.

  Returns:
    The variables, and a sentence that says which were taken.

  Raises:
    ValueError: If there is no such checkpoint, or it is of another model.
  """
  step = find_step(path, step)
  folder = _state_folder(path, step)
  saved = _saved(folder)
  averaged = ema and saved.get('ema_params') is not None
  names = {name: name for name in abstract}
  names['params'] = 'ema_params' if averaged else 'params'
  target = {names[name]: tree for name, tree in abstract.items()}
  _check_shapes(path, target, saved)
  sharding = sharding or jax.sharding.SingleDeviceSharding(
      jax.local_devices()[0]
  )
  if not isinstance(sharding, jax.sharding.Sharding):
    sharding = {names[name]: tree for name, tree in sharding.items()}
  else:
    sharding = jax.tree.map(lambda _: sharding, target)
  restore_args = jax.tree.map(
      lambda a, s: ocp.ArrayRestoreArgs(
          sharding=s, global_shape=a.shape, dtype=a.dtype
      ),
      target,
      sharding,
  )
  restored = ocp.PyTreeCheckpointer().restore(
      folder,
      args=ocp.args.PyTreeRestore(
          item=target, restore_args=restore_args, partial_restore=True
      ),
  )
  variables = {name: restored[names[name]] for name in abstract}
  if dtype is not None:
    variables['params'] = jax.tree.map(
        lambda p: p.astype(jnp.dtype(dtype)), variables['params']
    )
  kind = 'averaged parameters' if averaged else 'parameters'
  return variables, f'{kind} of step {step} from {path}'


def has_collection(
    path: str | epath.Path, name: str, *, step: int | None = None
) -> bool:
  """Whether a checkpoint, the newest by default, has variables of this name."""
  folder = _state_folder(path, find_step(path, step))
  return bool(_saved(folder).get(name))


def find_step(path: str | epath.Path, step: int | None) -> int:
  """The step of a complete checkpoint: the one asked for, else the newest.

  Raises:
    ValueError: If there is none.
  """
  folder = epath.Path(path) / 'checkpoints'
  steps = ocp.utils.checkpoint_steps(folder) if folder.exists() else []
  if not steps:
    raise ValueError(
        f'{path} holds no complete checkpoint yet. Train until the first one is'
        ' saved, see --config.train.checkpoint_steps.'
    )
  if step is not None and step not in steps:
    raise ValueError(
        f'{path} has no checkpoint of step {step}; it has {sorted(steps)}.'
        ' Choose one of these, or none for the newest.'
    )
  return max(steps) if step is None else step


def _state_folder(path: str | epath.Path, step: int) -> epath.Path:
  return epath.Path(path).resolve() / 'checkpoints' / str(step) / 'state'


def _saved(folder: epath.Path) -> PyTree:
  """What Orbax knows of each array of a state, without reading it."""
  return ocp.PyTreeCheckpointHandler().metadata(folder).tree


def _check_shapes(path, target: PyTree, saved: PyTree) -> None:
  """Compares what a model needs with what a checkpoint has, name by name."""
  wanted, found = _shapes(target), _shapes(saved)
  for name, shape in wanted.items():
    if found.get(name) != shape:
      has = f'has {found[name]}' if name in found else 'has none'
      raise ValueError(
          f'The checkpoint in {path} is of another model: {name} should be'
          f' {shape}, but it {has}. Its config.json and its checkpoints belong'
          ' to different runs; restore the pair that was written together.'
      )


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
  state = flax.serialization.to_state_dict(tree)
  flat = flax.traverse_util.flatten_dict(state, sep='.')
  return {
      name: tuple(leaf.shape)
      for name, leaf in flat.items()
      if hasattr(leaf, 'shape')
  }
