"""The collective operations of a program: kind, bytes and mesh axes."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import math
import re

import numpy as np

from rq_jax.jobs.compile import estimate
from rq_jax.jobs.compile import execution
from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import kinds

_MESH = re.compile(r'mesh\[([^\]]*)\]\s*\{([^}]*)\}')
_IOTA = re.compile(r'\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?')
_LIST = re.compile(r'\{([\d,\s]+)\}')


@dataclasses.dataclass(frozen=True)
class Collective:
  """A collective of the program.

  Attributes:
    executed: Where it is, and how often it runs.
    counted: What the estimate charges.
    axes: The mesh axes over which its devices differ, such as 'fsdp' or
      'data+fsdp'; '' for one device.
    shapes: The arrays of its result, without those of its operand.
  """

  executed: execution.Executed
  counted: estimate.Collective
  axes: str
  shapes: tuple[hlo.Shape, ...]

  @property
  def dtype(self) -> str:
    """Type of the largest array."""
    return max(self.shapes, key=lambda shape: shape.bytes).dtype


def find(module: hlo.Module, mesh: Mapping[str, int]) -> Iterator[Collective]:
  """All collectives of a program; the two halves of one count once.

  Args:
    module: The program.
    mesh: Number of devices along each mesh axis, in order.
  """
  for each in execution.executed(module):
    one = each.instruction
    kind = kinds.collective(one)
    if kind is None:
      continue
    groups = _groups(one, module.devices)
    devices = max(map(len, groups))
    shapes = _results(each.computation, one)
    operand = sum(
        shape.bytes
        for given in each.computation.operands(one)
        for shape in given.shapes
    )
    yield Collective(
        executed=each,
        counted=estimate.Collective(
            kind=kind,
            bytes=operand * (devices if kind == 'all-gather' else 1),
            devices=devices,
            times=each.times,
        ),
        axes=_axes(groups, mesh),
        shapes=shapes,
    )


def _results(
    computation: hlo.Computation, one: hlo.Instruction
) -> tuple[hlo.Shape, ...]:
  """The result of a collective; that of a first half begins with operands."""
  given = sum(len(x.shapes) for x in computation.operands(one))
  if one.opcode.endswith('-start') and len(one.shapes) >= 2 * given:
    return one.shapes[given : 2 * given]
  return one.shapes


def _groups(one: hlo.Instruction, devices: int) -> Sequence[Sequence[int]]:
  """Numbers of the devices that take part together."""
  if pairs := one.attribute('source_target_pairs'):
    found = [_numbers(text) for text in _LIST.findall(pairs)]
    return [pair for pair in found if pair[0] != pair[1]] or found
  text = one.attribute('replica_groups')
  if match := _MESH.search(text):
    return _of_mesh(match)
  if match := _IOTA.search(text):
    shape, order, turned = (_numbers(part or '') for part in match.groups())
    numbers = np.arange(math.prod(order)).reshape(order)
    if turned:
      numbers = numbers.transpose(turned)
    return numbers.reshape(shape).tolist()
  found = [_numbers(group) for group in _LIST.findall(text)]
  return found or [range(devices)]


def _of_mesh(match: re.Match[str]) -> Sequence[Sequence[int]]:
  """Groups in the form mesh['a'=4,'b'=2] {'a'}, which differ along 'a'."""
  sizes = dict(
      part.strip().replace("'", '').split('=') for part in match[1].split(',')
  )
  named = [name.strip().strip("'") for name in match[2].split(',')]
  names = list(sizes)
  numbers = np.arange(math.prod(map(int, sizes.values())))
  numbers = numbers.reshape([int(size) for size in sizes.values()])
  kept = [i for i, name in enumerate(names) if name not in named]
  moved = [i for i, name in enumerate(names) if name in named]
  count = math.prod(int(sizes[names[i]]) for i in moved)
  return numbers.transpose(kept + moved).reshape(-1, count).tolist()


def _numbers(text: str) -> list[int]:
  return [int(number) for number in re.findall(r'\d+', text)]


def _axes(groups: Sequence[Sequence[int]], mesh: Mapping[str, int]) -> str:
  """The mesh axes along which the devices of any group differ."""
  shape = tuple(mesh.values())
  found = set()
  for group in groups:
    places = np.array(np.unravel_index(list(group), shape))
    found |= {
        axis
        for axis, along in zip(mesh, places)
        if len(set(along.tolist())) > 1
    }
  return '+'.join(axis for axis in mesh if axis in found)
