"""The state that a run starts from: saved, initial, or with given weights."""

from collections.abc import Mapping
from typing import Any

import jax

from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from rq_jax.config import Config
from rq_jax.distributed import partitioning
from rq_jax.typing import PyTree


def open_state(
    stage: Any,
    task: Any,
    config: Config,
    batch: PyTree,
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
    batch: Any batch, of which only the shapes count.
    mesh: Where to place the state.
    checkpoints: Of the run.
    num_examples: Length of the training split.

  Raises:
    ValueError: If no checkpoint can be read, or the data were others.
  """
  rng = jax.random.key(config.seed)
  abstract = jax.eval_shape(stage.init_state, task, rng, batch)
  shardings = partitioning.state_sharding(abstract, mesh)
  restored = checkpoints.restore_newest(partitioning.unbox(abstract), shardings)
  if restored is not None:
    state, meta = restored
    _check_position(meta, num_examples)
    return state, shardings

  def init(task, rng, batch):
    return partitioning.unbox(stage.init_state(task, rng, batch))

  state = jax.jit(init, out_shardings=shardings)(task, rng, batch)
  if config.init_from is not None:
    state = _take_weights(config.init_from, stage.weights, state, shardings)
  return state, shardings


def _take_weights(
    path: str, names: tuple[str, ...], state: PyTree, shardings: PyTree
) -> PyTree:
  """Starts from the weights of another run, as `--config.init_from` asks."""
  names = tuple(
      name
      for name in names
      if getattr(state, name) and stored.has_collection(path, name)
  )
  weights, found = stored.restore_variables(
      path,
      {name: getattr(state, name) for name in names},
      sharding={name: getattr(shardings, name) for name in names},
  )
  print(f'Starting from the {found}.')
  state = state.replace(**weights)
  if state.ema_params is not None:
    ema = jax.tree.map(lambda p: p.copy(), state.params)
    state = state.replace(ema_params=ema)
  return state


def _check_position(meta: Mapping[str, Any], num_examples: int) -> None:
  """Cross-checks what the data were when the checkpoint was written."""
  saved, step = meta.get('num_examples'), meta.get('step')
  if saved != num_examples:
    raise ValueError(
        f'The data have {num_examples} examples, but had {saved} when step'
        f' {step} was saved: the order of examples would change. Restore the'
        ' data, or start another --workdir with --config.init_from.'
    )
