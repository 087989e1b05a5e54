"""Times training steps of either stage, with random data and networks."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.config import Experiment
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.jobs import stand_in
from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import failures as failures_lib
from rq_jax.jobs.benchmark import jsonl as jsonl_lib
from rq_jax.jobs.benchmark import measured
from rq_jax.jobs.plan import chips
from rq_jax.jobs.plan import flops
from rq_jax.jobs.plan import problem as problem_lib
from rq_jax.reports import columns
from rq_jax.training import start
from rq_jax.training import stepping
from rq_jax.typing import PyTree

_INSTEAD = 'a smaller --batch_size, or a larger --config.train.accumulate'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
  """A training step that can be taken again and again.

  Attributes:
    take: Takes the next step; returns its metrics.
    flops: Operations of a step, on all devices together.
    notes: Sentences about parts that the step lacks.
  """

  take: Callable[[], Mapping[str, jax.Array]]
  flops: int
  notes: tuple[str, ...]


def run(
    name: str,
    experiments: Sequence[Experiment],
    *,
    repeats: int,
    jsonl: str | None = None,
) -> None:
  """Times experiments one after the other; prints records, then a table.

  Args:
    name: Name of the experiments in the records.
    experiments: Checked experiments, which differ in their batches.
    repeats: Number of timed steps, after one step that compiles.
    jsonl: File to which the records are appended, if any.

  Raises:
    ValueError: If a batch does not fit the mesh, before anything is allocated;
      if a step could not be taken, after all others were timed.
    OSError: If the file cannot be written.
  """
  for config in experiments:
    _mesh(config)
  records, failures = [], []
  with jsonl_lib.writer(jsonl) as write:
    for config in experiments:
      try:
        records.append(measure(name, config, repeats))
      except failures_lib.FAILURES as error:
        failures.append(
            failures_lib.sentence(
                name, config.data.batch_size, error, instead=_INSTEAD
            )
        )
      else:
        write(records[-1])
  if records:
    console.tell(f'\n{table(records)}')
  if failures:
    raise ValueError(' '.join(failures))


def measure(name: str, config: Experiment, repeats: int) -> measured.Record:
  """The record of a training step: its times, its work and its environment.

  Args:
    name: Name of the experiment.
    config: A checked experiment.
    repeats: Number of timed steps, after one step that compiles.

  Raises:
    ValueError: If the batch does not fit the mesh; before anything is
      allocated.
  """
  mesh = _mesh(config)
  with partitioning.activate(mesh):
    prepared = prepare(config, mesh)
    times = timing.measure(prepared.take, repeats)
  memory = timing.peak_memory()
  dtype, batch = config.model.dtype, config.data.batch_size
  device = mesh.devices.flat[0]
  chip = chips.find(device.device_kind) or timing.calibrate(dtype)
  reached = prepared.flops / times.median / mesh.size
  return {
      'kind': 'training',
      'model': name,
      'stage': config.stage,
      'batch_size': batch,
      'accumulate': config.train.accumulate,
      'remat': config.model.remat,
      'dtype': dtype,
      'mesh': dict(mesh.shape),
      'seconds': measured.spread(times),
      'cpu_seconds': times.cpu_median,
      'images_per_second': batch / times.median,
      'compile_seconds': {
          'first_call': times.compilation,
          'compiler': times.compiler,
      },
      'peak_memory': memory,
      'peak': {
          'chip': chip.name,
          'source': chip.source,
          'flops_per_second': chip.flops(dtype),
          'step_flops': prepared.flops,
          'share': reached / chip.flops(dtype),
      },
      'notes': list(prepared.notes),
      'environment': measured.environment(),
  }


def prepare(config: Experiment, mesh: jax.sharding.Mesh) -> Prepared:
  """The step of a run on a mesh, with a new state and a random batch.

  It is the very program that a run compiles. A tokenizer that does not exist
  and the network of the perceptual loss get random weights. The mesh must be
  active.
  """
  problem = problem_lib.problem(config, mesh)
  count = flops.count(
      problem.train_step,
      problem.task,
      partitioning.unbox(problem.state),
      problem.batch,
  )
  task = jax.device_put(_drawn(problem.task), partitioning.replicated(mesh))
  batch = partitioning.global_batch(
      {
          name: _random(name, leaf, config)
          for name, leaf in problem.batch.items()
      },
      mesh,
  )
  shardings = partitioning.state_sharding(problem.state, mesh)
  rng = jax.random.key(config.seed)
  state = start.initialize(problem.init_state, task, rng, shardings)
  stepper = stepping.Stepper(
      problem.train_step,
      task,
      config.train,
      mesh=mesh,
      shardings=shardings,
      meta={},
  )
  held = [0, state]

  def take():
    held[0] += 1
    held[1], metrics = stepper.take(held[0], held[1], batch)
    return metrics

  return Prepared(take=take, flops=count, notes=problem.notes)


def table(records: Sequence[measured.Record]) -> str:
  """The records of one experiment as a table, for 80 columns."""
  first = records[0]
  found = first['environment']
  rows = [('batch', 's a step', 'min', 'max', 'CPU s', 'images/s',
           'of peak', 'compile s', 'MiB')]  # fmt: skip
  for record in records:
    seconds = record['seconds']
    rows.append(
        (
            str(record['batch_size']),
            f'{seconds["median"]:.3g}',
            f'{seconds["min"]:.3g}',
            f'{seconds["max"]:.3g}',
            f'{record["cpu_seconds"]:.3g}',
            f'{record["images_per_second"]:.3g}',
            f'{record["peak"]["share"]:.1%}',
            f'{record["compile_seconds"]["first_call"]:.1f}',
            f'{record["peak_memory"]["bytes"] / 2**20:,.0f}',
        )
    )
  axes = ', '.join(f'{axis} {n}' for axis, n in first['mesh'].items())
  peak = first['peak']
  return '\n'.join(
      [
          f'{first["model"]}: training steps in {first["dtype"]} on'
          f' {found["device"]}, mesh {axes}',
          *columns.aligned(rows),
          f'  Peak: {peak["flops_per_second"] / 1e12:.3g} TFLOP/s per device'
          f' ({peak["source"]}). CPU s: of all threads.',
          f'  MiB: peak memory of the {first["peak_memory"]["of"]} so far.',
          *(f'  {note}' for note in first['notes']),
      ]
  )


def _mesh(config: Experiment) -> jax.sharding.Mesh:
  """The mesh of an experiment on the devices of this machine."""
  mesh = partitioning.make_mesh(vars(config.mesh), devices=jax.local_devices())
  partitioning.check_batch(
      config.data.batch_size, mesh, pieces=config.train.accumulate
  )
  return mesh


def _drawn(tree: PyTree) -> PyTree:
  """Random numbers in place of shapes; arrays stay as they are."""
  leaves, structure = jax.tree.flatten(tree)
  shapes = [i for i, x in enumerate(leaves) if not hasattr(x, 'devices')]
  drawn = stand_in.draw([leaves[i] for i in shapes], seed=0)
  for i, array in zip(shapes, drawn, strict=True):
    leaves[i] = array
  return jax.tree.unflatten(structure, leaves)


def _random(name: str, leaf: Any, config: Experiment) -> np.ndarray:
  """A random array of a batch, on the host."""
  rng = np.random.default_rng(0)
  if jnp.issubdtype(leaf.dtype, jnp.floating):
    return rng.uniform(-1, 1, leaf.shape).astype(leaf.dtype)
  model = vars(config.model)
  size = model['text_vocab_size' if name == 'tokens' else 'num_classes'] or 1
  return rng.integers(0, size, leaf.shape).astype(leaf.dtype)
