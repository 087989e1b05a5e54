"""Which instructions of a program run, and how often."""

from collections.abc import Iterator
import dataclasses

from rq_jax.jobs.compile import hlo


@dataclasses.dataclass(frozen=True)
class Executed:
  """An instruction outside of fusions.

  Attributes:
    computation: The computation that it is in.
    instruction: The instruction.
    times: Number of executions.
    loop: Name of the innermost loop around it; '' if there is none.
  """

  computation: hlo.Computation
  instruction: hlo.Instruction
  times: int
  loop: str


def executed(module: hlo.Module) -> Iterator[Executed]:
  """All instructions that run, with the loops around them.

  The body of a loop whose number of passes is unknown counts once. Of a
  conditional, the branch with the most instructions counts.
  """
  return _of(module, module.entry, 1, '')


def unknown_loops(module: hlo.Module) -> list[str]:
  """Names of the loops whose number of passes is unknown."""
  return [
      each.instruction.name
      for each in executed(module)
      if each.instruction.opcode == 'while'
      and trip_count(module, each.computation, each.instruction) is None
  ]


def _of(
    module: hlo.Module, computation: hlo.Computation, times: int, loop: str
) -> Iterator[Executed]:
  for one in computation:
    yield Executed(computation, one, times, loop)
    if one.opcode == 'while':
      passes = times * (trip_count(module, computation, one) or 1)
      for name in ('body', 'condition'):
        if name == 'condition' and one.trip_count is not None:
          continue  # The program counts its passes itself.
        inner = module.computations[one.attribute(name).lstrip('%')]
        yield from _of(module, inner, passes, one.name)
    elif one.opcode == 'conditional':
      branches = [module.computations[name] for name in one.called]
      largest = max(branches, key=lambda branch: _length(module, branch))
      yield from _of(module, largest, times, loop)
    elif one.opcode in ('call', 'async-start'):
      for name in one.called:
        yield from _of(module, module.computations[name], times, loop)


def _length(module: hlo.Module, computation: hlo.Computation) -> int:
  return sum(
      1 + sum(_length(module, module.computations[name]) for name in one.called)
      for one in computation
  )


def trip_count(
    module: hlo.Module, computation: hlo.Computation, loop: hlo.Instruction
) -> int | None:
  """The number of passes of a loop of a computation; None if it is unknown.

  If the compiler does not write it, it is read from a condition of the form
  i < n. The loops of JAX count i from the start that the loop is given.
  """
  if loop.trip_count is not None:
    return loop.trip_count
  condition = module.computations[loop.attribute('condition').lstrip('%')]
  root = condition.root
  if root.opcode != 'compare' or root.attribute('direction') != 'LT':
    return None
  counter, limit = condition.operands(root)
  if limit.opcode != 'constant' or counter.opcode != 'get-tuple-element':
    return None
  given = computation.instructions[loop.operands[0]]
  place = counter.numbers('index')[0]
  if given.opcode != 'tuple':
    return limit.number
  start = computation.instructions[given.operands[place]]
  return limit.number - (start.number if start.opcode == 'constant' else 0)
