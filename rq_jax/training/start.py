"""The state that a run starts from: saved, initial, or with given weights."""

from collections.abc import Mapping
from typing import Any

from etils import epath
import jax

from rq_jax.checkpoints import runs
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.typing import PyTree


def check_weights(config: Experiment, workdir: str | epath.Path) -> None:
  """Refuses an `init_from` that is to be used and holds no such weights.

  Args:
    config: The experiment.
    workdir: Folder of the run, whose own checkpoints come first.

  Raises:
    ValueError: If it has no checkpoint of this stage.
  """
  path = config.init_from
  if path is None or steps.finished(workdir):
    return
  try:
    stored.read_model(path, stage=config.stage)
    steps.find(path, None)
  except ValueError as error:
    raise ValueError(
        f'config.init_from={path} cannot be started from: {error}'
    ) from error


def open_state(
    stage: Any,
    task: Any,
    config: Experiment,
    *,
    mesh: jax.sharding.Mesh,
    checkpoints: runs.Checkpoints,
    num_examples: int,
) -> tuple[PyTree, PyTree]:
  """The newest checkpoint's state, or the initial one; and its shardings.

  Args:
    stage: A `loop.Stage`.
    task: Its first argument.
    config: The experiment.
    mesh: Where to place the state.
    checkpoints: Of the run.
    num_examples: Length of the training split.

  Raises:
    ValueError: If no checkpoint can be read, the data were others, or the
      weights to start from are of another model.
  """
  rng = jax.random.key(config.seed)
  boxed = jax.eval_shape(stage.init_state, task, rng)
  abstract = partitioning.unbox(boxed)
  shardings = partitioning.state_sharding(boxed, mesh)
  restored = checkpoints.restore_newest(abstract, shardings)
  if restored is not None:
    state, meta = restored
    _check_position(meta, num_examples)
    return state, shardings
  weights = {}
  if config.init_from is not None:
    weights = _weights(config.init_from, stage.weights, abstract, shardings)

  def init(task, rng):
    return partitioning.unbox(stage.init_state(task, rng))

  state = jax.jit(init, out_shardings=shardings)(task, rng)
  state = state.replace(**weights)
  if weights and state.ema_params is not None:
    ema = jax.tree.map(lambda p: p.copy(), state.params)
    state = state.replace(ema_params=ema)
  return state, shardings


def _weights(
    path: str, names: tuple[str, ...], abstract: PyTree, shardings: PyTree
) -> dict[str, PyTree]:
  """The weights of another run, as `--config.init_from` asks."""
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


def _check_position(meta: Mapping[str, Any], num_examples: int) -> None:
  """Checks that the data are as long as when the checkpoint was written."""
  saved, step = meta.get('num_examples'), meta.get('step')
  if saved != num_examples:
    raise ValueError(
        f'The data have {num_examples} examples, but had {saved} when step'
        f' {step} was saved: the order of examples would change. Restore the'
        ' data, or start another --workdir with --config.init_from.'
    )
