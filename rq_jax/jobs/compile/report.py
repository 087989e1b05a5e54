"""Compiles a program and describes it as plain values, ready for JSON."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import time
from typing import Any

import jax

from rq_jax.jobs import versions
from rq_jax.jobs.compile import collectives as collectives_lib
from rq_jax.jobs.compile import estimate
from rq_jax.jobs.compile import execution
from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import kinds
from rq_jax.jobs.compile import mending
from rq_jax.jobs.compile import programs
from rq_jax.jobs.compile import targets

Record = dict[str, Any]
_TOO_LARGE = 'RESOURCE_EXHAUSTED'
_NO_TILES = "Couldn't find output tile sizes"


def make(
    program: programs.Program,
    target: targets.Target,
    rates: estimate.Rates | None,
) -> Record:
  """Compiles a program and describes it.

  Args:
    program: The program.
    target: What to compile for.
    rates: Rates for the estimate; None to make no estimate.

  Returns:
    'target', 'device', 'devices', 'mesh', 'images', 'dtype', 'notes',
    'compile_seconds', 'compile_cpu_seconds' (over all threads), 'memory' (bytes
    of each device), 'kernels' (executions, bytes and operations by kind),
    'loops', 'collectives', 'findings', 'estimate' (seconds by kind, or None)
    and 'versions'.

  Raises:
    ValueError: If the program does not fit into the memory of the target.
  """
  start, cpu_start = time.perf_counter(), time.process_time()
  compiled, notes = _compile(program, target)
  seconds = time.perf_counter() - start
  cpu_seconds = time.process_time() - cpu_start
  mesh = dict(program.mesh.shape) if program.mesh else {'data': 1}
  module = hlo.parse(compiled.as_text() or '')
  kernels = tuple(kinds.kernels(module))
  exchanged = tuple(collectives_lib.find(module, mesh))
  notes += program.notes
  if unknown := execution.unknown_loops(module):
    notes.append(
        f'The number of passes of {len(unknown)} loops is unknown; each counts'
        ' once.'
    )
  findings = mending.find(
      kernels,
      exchanged,
      dtype=program.dtype,
      parameters=_parameters(program, compiled),
  )
  return {
      'target': target.name,
      'device': target.devices[0].device_kind,
      'devices': len(target.devices),
      'mesh': mesh,
      'images': program.images,
      'dtype': program.dtype,
      'notes': notes,
      'compile_seconds': seconds,
      'compile_cpu_seconds': cpu_seconds,
      'memory': _memory(compiled, target),
      'kernels': _kernels(kernels),
      'loops': _loops(module, kernels),
      'collectives': _collectives(exchanged),
      'findings': [dataclasses.asdict(one) for one in findings],
      'estimate': rates and _estimate(kernels, exchanged, rates),
      'versions': versions.of('jax', 'rq_jax', target.compiler),
  }


def _compile(
    program: programs.Program, target: targets.Target
) -> tuple[jax.stages.Compiled, list[str]]:
  """The compiled program, and notes on how it was compiled."""
  try:
    return _compile_products(program.lowered)
  except jax.errors.JaxRuntimeError as error:
    if _TOO_LARGE not in str(error):
      raise
    reason = str(error).partition('\n\n')[0]
    raise ValueError(
        f'The program does not fit into the memory of {target.name}: {reason}.'
        ' Choose a larger target, another mesh, or fewer images.'
    ) from error


def _compile_products(
    lowered: jax.stages.Lowered,
) -> tuple[jax.stages.Compiled, list[str]]:
  """Compiles with kernels of XLA for products, or else with those of cuBLAS."""
  try:
    return lowered.compile(), []
  except jax.errors.JaxRuntimeError as error:
    if _NO_TILES not in str(error):
      raise
  options: Any = {'xla_gpu_enable_triton_gemm': False}
  return lowered.compile(options), [
      'XLA has no kernel of its own for a product of this program, so all'
      ' products are calls of cuBLAS.'
  ]


def _parameters(
    program: programs.Program, compiled: jax.stages.Compiled
) -> list[tuple[int, ...]]:
  """Shapes of the arguments that do not depend on the batch.

  They are those of whole arrays and those of their parts on a device.
  """
  leaves = jax.tree.leaves(program.lowered.args_info)
  shardings = jax.tree.leaves(
      compiled.input_shardings, is_leaf=lambda x: x is None
  )
  return [
      shape
      for leaf, sharding in zip(leaves, shardings)
      if sharding and leaf.shape[:1] != (program.images,)  # None if unused.
      for shape in (leaf.shape, sharding.shard_shape(leaf.shape))
  ]


def _memory(
    compiled: jax.stages.Compiled, target: targets.Target
) -> dict[str, int | None]:
  """Bytes of each device; outputs without those in the place of arguments."""
  found = compiled.memory_analysis()
  assert found is not None  # All targets have it.
  parts = {
      'arguments': found.argument_size_in_bytes,
      'outputs': found.output_size_in_bytes - found.alias_size_in_bytes,
      'temporaries': found.temp_size_in_bytes,
      'code': found.generated_code_size_in_bytes,
  }
  return {
      **parts,
      'total': sum(parts.values()),
      'chip': target.chip.memory if target.chip else None,
  }


def _kernels(kernels: Sequence[kinds.Kernel]) -> dict[str, Record]:
  """Executions, bytes and operations by kind, most bytes first."""
  found: dict[str, Record] = {}
  for counted in (kernel.counted for kernel in kernels):
    row = found.setdefault(
        counted.kind, {'executions': 0, 'bytes': 0, 'flops': 0}
    )
    row['executions'] += counted.times
    row['bytes'] += counted.times * counted.bytes
    row['flops'] += counted.times * counted.flops
  return dict(sorted(found.items(), key=lambda item: -item[1]['bytes']))


def _loops(module: hlo.Module, kernels: Iterable[kinds.Kernel]) -> list[Record]:
  """Each loop with kernels: passes in all, kernels and bytes of one pass."""
  found: dict[str, Record] = {}
  for kernel in kernels:
    name, counted = kernel.executed.loop, kernel.counted
    if name:
      row = found.setdefault(
          name, {'passes': counted.times, 'kernels': 0, 'bytes': 0}
      )
      row['kernels'] += 1
      row['bytes'] += counted.bytes
  names = {
      each.instruction.name: each.instruction.op_name
      for each in execution.executed(module)
      if each.instruction.opcode == 'while'
  }
  return [{'op_name': names[name]} | row for name, row in found.items()]


def _collectives(
    exchanged: Iterable[collectives_lib.Collective],
) -> list[Record]:
  """Collectives by kind, axis and dtype, most bytes first."""
  found: dict[tuple[str, ...], Record] = {}
  for one in exchanged:
    key = (one.counted.kind, one.axes, one.dtype)
    row = found.setdefault(
        key,
        dict(zip(('kind', 'axes', 'dtype'), key))
        | {'instructions': 0, 'executions': 0, 'bytes': 0},
    )
    row['instructions'] += 1
    row['executions'] += one.counted.times
    row['bytes'] += one.counted.times * one.counted.bytes
  return sorted(found.values(), key=lambda row: -row['bytes'])


def _estimate(
    kernels: Iterable[kinds.Kernel],
    exchanged: Iterable[collectives_lib.Collective],
    rates: estimate.Rates,
) -> Mapping[str, float]:
  found = estimate.seconds(
      [kernel.counted for kernel in kernels],
      [one.counted for one in exchanged],
      rates,
  )
  total = sum(found.values())
  parts = sorted(found.items(), key=lambda item: -item[1])
  return {'total': total, **dict(parts)}
