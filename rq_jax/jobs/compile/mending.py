"""What a person may want to change about a compiled program."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import re

from rq_jax.jobs.compile import collectives
from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import kinds

# Below these bytes, nothing is worth a line.
_LARGE = 16 * 2**20
# Share of all bytes of the program above which copies are listed.
_SHARE = 0.005
_ROWS = 5
# Names of devices' own functions and numbers, which differ between layers.
_NUMBERS = re.compile(r'\d+')


@dataclasses.dataclass(frozen=True)
class Finding:
  """Kernels or collectives of one origin that may be worth a change.

  Attributes:
    what: A sentence about them.
    shape: The largest array of the first of them.
    op_name: Names of the modules and functions that the first is from.
    count: Number of executions.
    bytes: Bytes that all of them move or exchange.
  """

  what: str
  shape: str
  op_name: str
  count: int
  bytes: float


def find(
    kernels: Sequence[kinds.Kernel],
    exchanged: Sequence[collectives.Collective],
    *,
    dtype: str,
    parameters: Sequence[tuple[int, ...]],
) -> list[Finding]:
  """What may be worth a change, the largest first.

  Args:
    kernels: The kernels of a program.
    exchanged: Its collectives.
    dtype: Type in which the model computes.
    parameters: Shapes of the arguments that are parameters or state, and of
      their parts on a device; collectives of such arrays are expected.
  """
  total = sum(k.counted.bytes * k.counted.times for k in kernels)
  least = max(_LARGE, _SHARE * total)
  known = set(map(_sorted, parameters))
  known |= {_sorted(shape[1:]) for shape in parameters if len(shape) > 1}
  kinds_of = [
      (
          'A large array is copied.',
          lambda k: k.counted.kind == 'copies' and not _copies_carried(k),
      ),
      ('A loop copies an array that it carries.', _copies_carried),
      (
          'The sum of a product is split, and the next kernel reads the parts'
          ' back.',
          lambda k: any(product.split > 1 for product in k.products),
      ),
  ]
  if dtype == 'bfloat16':
    kinds_of.append(
        (
            'float32 activations are written, though the model computes in'
            ' bfloat16.',
            lambda k: _writes_float32(k, known, least),
        )
    )
  found = [
      one
      for what, chosen in kinds_of
      for one in _grouped(what, filter(chosen, kernels), least)
  ]
  found += _resharding(exchanged, known)
  return sorted(found, key=lambda one: -one.bytes)


def _grouped(
    what: str, kernels: Iterable[kinds.Kernel], least: float
) -> Iterator[Finding]:
  """Findings by origin, without the small ones."""
  groups: dict[str, list[kinds.Kernel]] = {}
  for kernel in kernels:
    groups.setdefault(_origin(kernel.instruction), []).append(kernel)
  found = [
      Finding(
          what=what,
          shape=str(_largest(group[0].instruction.shapes)),
          op_name=group[0].instruction.op_name,
          count=sum(int(k.counted.times) for k in group),
          bytes=sum(k.counted.bytes * k.counted.times for k in group),
      )
      for group in groups.values()
  ]
  found = [one for one in found if one.bytes >= least]
  yield from sorted(found, key=lambda one: -one.bytes)[:_ROWS]


def _origin(one: hlo.Instruction) -> str:
  """What the same kernels of different layers have in common."""
  return _NUMBERS.sub('', one.op_name) + str(_largest(one.shapes))


def _largest(shapes: Sequence[hlo.Shape]) -> hlo.Shape:
  return max(shapes, key=lambda shape: shape.bytes)


def _copies_carried(kernel: kinds.Kernel) -> bool:
  """Whether a kernel of a loop copies an array that the loop carries."""
  one, place = kernel.instruction, kernel.executed.computation
  if not kernel.executed.loop or kernel.counted.kind != 'copies':
    return False
  root = place.root
  carried = {
      str(shape)
      for given in place.operands(root)
      for shape in given.shapes
      if root.opcode == 'tuple'
  }
  return str(_largest(one.shapes)) in carried


def _writes_float32(kernel: kinds.Kernel, known: set, least: float) -> bool:
  """Whether a kernel writes a large float32 array that is no parameter."""
  return any(
      shape.dtype == 'f32'
      and shape.space == 0
      and len(shape.dims) > 1
      and shape.bytes * kernel.counted.times >= least
      and _sorted(shape.dims) not in known
      for shape in kernel.instruction.shapes
  )


def _resharding(
    exchanged: Sequence[collectives.Collective], known: set
) -> Iterator[Finding]:
  """Collectives that the mesh does not explain."""
  tests: list[tuple[str, Callable[[collectives.Collective], bool]]] = [
      (
          'The compiler moves an array between devices, because its parts are'
          ' needed elsewhere than they are.',
          lambda c: c.counted.kind in ('all-to-all', 'collective-permute'),
      ),
      (
          'An array that is no parameter is gathered on every device.',
          lambda c: all(c.gathered)
          and not any(_sorted(shape.dims) in known for shape in c.shapes),
      ),
      (
          'Devices add up gradients in bfloat16.',
          lambda c: c.counted.kind in ('all-reduce', 'reduce-scatter')
          and any(
              shape.dtype == 'bf16' and not gathered
              for shape, gathered in zip(c.shapes, c.gathered)
          ),
      ),
  ]
  for what, chosen in tests:
    groups: dict[str, list[collectives.Collective]] = {}
    for one in filter(chosen, exchanged):
      instruction = one.executed.instruction
      groups.setdefault(_origin(instruction), []).append(one)
    for group in groups.values():
      first = group[0]
      yield Finding(
          what=f'{what} Axis: {first.axes}.',
          shape=str(_largest(first.shapes)),
          op_name=first.executed.instruction.op_name,
          count=sum(int(one.counted.times) for one in group),
          bytes=sum(one.counted.bytes * one.counted.times for one in group),
      )


def _sorted(dims: Iterable[int]) -> tuple[int, ...]:
  """The dimensions of an array, whatever their order and layout."""
  return tuple(sorted(size for size in dims if size > 1))
