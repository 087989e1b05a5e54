"""A training step, compiled for a mesh."""

import functools

import jax

from rq_jax.distributed import partitioning


def compiled(stage, task, state, batch, mesh):
  """Returns the compiled step, and its arguments on the devices of the mesh."""
  with partitioning.activate(mesh):
    abstract = jax.eval_shape(
        functools.partial(stage.init_state, task), jax.random.key(0)
    )
    shardings = partitioning.state_sharding(abstract, mesh)
    replicated = partitioning.replicated(mesh)
    args = (
        jax.device_put(task, replicated),
        jax.device_put(state, shardings),
        partitioning.global_batch(batch, mesh),
    )
    step = jax.jit(stage.train_step, out_shardings=(shardings, replicated))
    return step.lower(*args).compile(), args


def step(stage, task, state, batch, mesh):
  """The state after one step on a mesh, and its metrics."""
  program, args = compiled(stage, task, state, batch, mesh)
  return program(*args)
