"""The state that a run starts from: a checkpoint, other weights, or neither."""

from collections.abc import Callable, Mapping
from typing import Any

from etils import epath
import jax

from rq_jax import compiler_options
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.data import sources
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.typing import PyTree

_ADVICE = (
    'Restore the data, or start a run in another --workdir with'
    ' --config.init_from.'
)


def check_weights(config: Experiment, workdir: epath.PathLike) -> None:
  """Checks that `init_from` has weights of this stage, if it will be used.

  Args:
    config: The experiment.
    workdir: Folder of the run. If it has checkpoints, `init_from` is not used.

  Raises:
    ValueError: If `init_from` has no checkpoint of this stage.
  """
  path = config.init_from
  if path is None or steps.finished(workdir):
    return
  try:
    read = stored.read_rqvae, stored.read_rqtransformer
    read[config.stage - 1](path)
    steps.find(path, None)
  except ValueError as error:
    raise ValueError(
        f'config.init_from={path} has no weights to start from. {error}'
    ) from error


def open_state(
    stage: Any,
    task: Any,
    config: Experiment,
    *,
    mesh: jax.sharding.Mesh,
    checkpoints: runs.Checkpoints,
    train: sources.Source,
) -> tuple[PyTree, PyTree, Mapping[str, Any]]:
  """Returns the state that a run starts from, its shardings, and its meta.

  The newest checkpoint comes first. If there is none, the state is initialized,
  with the weights of `config.init_from` if it is set, and the meta is empty.

  Args:
    stage: A `stages.Stage`.
    task: The first argument of the functions of `stage`.
    config: The experiment.
    mesh: Mesh of the devices to place the state on.
    checkpoints: Checkpoints of the run.
    train: The training split.

  Raises:
    ValueError: If there are checkpoints and none can be read, if the examples
      have changed, or if `config.init_from` is of another model.
  """
  rng = jax.random.key(config.seed)
  boxed = jax.eval_shape(stage.init_state, task, rng)
  abstract = partitioning.unbox(boxed)
  shardings = partitioning.state_sharding(boxed, mesh)
  restored = checkpoints.restore_newest(abstract, shardings)
  if restored is not None:
    state, meta = restored
    _check_position(meta, train)
    return state, shardings, meta
  weights = {}
  if config.init_from is not None:
    weights = _weights(config.init_from, stage.weights, abstract, shardings)

  state = initialize(stage.init_state, task, rng, shardings)
  state = state.replace(**weights)
  if weights and state.ema_params is not None:
    ema = jax.tree.map(lambda p: p.copy(), state.params)
    state = state.replace(ema_params=ema)
  return state, shardings, {}


def initialize(
    init_state: Callable[..., PyTree],
    task: Any,
    rng: jax.Array,
    shardings: PyTree,
) -> PyTree:
  """A new state, unboxed, on the devices of its shardings.

  Args:
    init_state: (task, rng) -> state, boxed.
    task: The first argument.
    rng: The key of the whole run.
    shardings: Shardings of the state.
  """

  def init(task, rng):
    return partitioning.unbox(init_state(task, rng))

  device, *_ = jax.tree.leaves(shardings)[0].device_set
  options = compiler_options.run_once(device.platform)
  run = jax.jit(init, out_shardings=shardings, compiler_options=options)
  with console.compiling('the initialization'):
    return run(task, rng)


def _weights(
    path: str, names: tuple[str, ...], abstract: PyTree, shardings: PyTree
) -> dict[str, PyTree]:
  """Restores the weights of the run that `--config.init_from` names."""
  names = tuple(
      name
      for name in names
      if getattr(abstract, name) and stored.has_collection(path, name)
  )
  weights, found = stored.restore_variables(
      path,
      {name: getattr(abstract, name) for name in names},
      sharding={name: getattr(shardings, name) for name in names},
  )
  console.tell(f'Starting from the {found}.')
  return dict(weights)


def position(train: sources.Source) -> dict[str, Any]:
  """The part of a checkpoint's meta that identifies the training examples."""
  return {'num_examples': len(train), 'listing': train.listing}


def _check_position(meta: Mapping[str, Any], train: sources.Source) -> None:
  """Checks that the examples are those of the checkpoint, in the same order."""
  saved, step = meta.get('num_examples'), meta.get('step')
  if saved != len(train):
    raise ValueError(
        f'The data has {len(train)} examples, but had {saved} when step'
        f' {step} was saved, so the order of examples would change. {_ADVICE}'
    )
  if 'listing' not in meta:  # An older version saved it.
    if sources.may_differ_from_older(train):
      console.tell(
          f'Warning: step {step} is from an older version, which knew fewer'
          ' names of splits and of system folders. It may have read other'
          ' images for training, or given the classes other labels.'
      )
  elif meta['listing'] != train.listing:
    raise ValueError(
        'The names, the order or the labels of the training files have changed'
        f' since step {step} was saved. {_ADVICE}'
    )
