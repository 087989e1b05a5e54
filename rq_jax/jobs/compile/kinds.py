"""Sorts the instructions of a program into kernels, by kind."""

from collections.abc import Iterator
import dataclasses
import re

from rq_jax.jobs.compile import estimate
from rq_jax.jobs.compile import execution
from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import products
from rq_jax.jobs.compile import traffic

# Instructions that run nothing, or whose parts are counted instead.
_NO_KERNELS = frozenset({
    'add-dependency', 'after-all', 'async-done', 'async-start', 'async-update',
    'bitcast', 'call', 'call-done', 'call-start', 'conditional', 'constant',
    'copy-done', 'domain', 'get-tuple-element', 'iota', 'opt-barrier',
    'parameter', 'partition-id', 'replica-id', 'reshape', 'slice-done', 'tuple',
    'while',
})  # fmt: skip
# Custom calls that only name memory.
_NO_CALLS = ('AllocateBuffer', 'ConcatBitcast', 'Sharding', 'Bitcast')
_KEY = 4  # Numbers in a random key.
COLLECTIVES = (
    'all-gather',
    'all-reduce',
    'reduce-scatter',
    'all-to-all',
    'collective-permute',
    'collective-broadcast',
    'ragged-all-to-all',
)
_RANDOM = re.compile(r'threefry|random_bits|_bernoulli|_uniform\b|_normal\b')
_NORM = re.compile(r'/norm(?:\w*)(?:/|\b)|LayerNorm|GroupNorm|BatchNorm')
_ATTENTION = re.compile(r'attention')
# Products of an attention layer with its weights.
_PROJECTIONS = re.compile(
    r'/(?:query_key_value|query|key|value|out|proj\w*)(?:/|$)'
)
_DRAWS = re.compile(r'/(?:draws|soft_codes)(?:/|$)')
# Of the products in the above, these only add up what is drawn from.
_SUMS_OF_DRAWS = re.compile(r'/draws(?:/|$)')


@dataclasses.dataclass(frozen=True)
class Kernel:
  """A kernel of the program.

  Attributes:
    executed: Where it is, and how often it runs.
    counted: What the estimate charges.
    products: Its matrix products and convolutions.
  """

  executed: execution.Executed
  counted: estimate.Kernel
  products: tuple[products.Product, ...]

  @property
  def instruction(self) -> hlo.Instruction:
    """The instruction that starts it."""
    return self.executed.instruction


def collective(one: hlo.Instruction) -> str | None:
  """The kind of a collective; None for the end of one and for the others."""
  name = one.opcode.removesuffix('-start')
  return name if name in COLLECTIVES else None


def kernels(module: hlo.Module) -> Iterator[Kernel]:
  """All kernels of a program, but not its collectives."""
  for each in execution.executed(module):
    if _is_kernel(each.instruction):
      yield _kernel(module, each)


def _is_kernel(one: hlo.Instruction) -> bool:
  if one.opcode in _NO_KERNELS or one.target in _NO_CALLS:
    return False
  name = one.opcode.removesuffix('-start').removesuffix('-done')
  if name in COLLECTIVES:
    return False
  # The processor that starts the kernels computes scalars and random keys,
  # except on GPUs, where they are fusions.
  small = all(shape.size <= _KEY for shape in one.shapes)
  return one.opcode in ('fusion', 'custom-call') or not small


def _kernel(module: hlo.Module, each: execution.Executed) -> Kernel:
  one, place = each.instruction, each.computation
  found = tuple(products.find(module, place, one))
  kind = _kind(module, place, one, found)
  largest = max(found, key=lambda product: product.flops, default=None)
  if largest is None:
    flops, extra = traffic.operations(module, one), {}
  else:
    flops = sum(product.flops for product in found)
    extra = {
        'dtype': largest.dtype,
        'smallest': largest.smallest,
        'by_output': largest.by_output,
    }
  return Kernel(
      executed=each,
      counted=estimate.Kernel(
          kind=kind,
          flops=flops,
          bytes=traffic.moved_bytes(module, place, one),
          times=each.times,
          **extra,
      ),
      products=found,
  )


def _kind(
    module: hlo.Module,
    place: hlo.Computation,
    one: hlo.Instruction,
    found: tuple[products.Product, ...],
) -> str:
  inner = [each for _, each in module.inside(one)] or [one]
  opcodes = {each.opcode for each in inner}
  names = [one.op_name, *(each.op_name for each in inner)]
  if 'sort' in opcodes or 'Sort' in one.target or 'TopK' in one.target:
    return 'sorts'
  if found:
    return _kind_of_product(place, one, found)
  if one.opcode in ('copy-start', 'slice-start'):
    return 'prefetches'
  if any(map(_RANDOM.search, names)) or 'rng-bit-generator' in opcodes:
    return 'random numbers'
  if traffic.writes_slices(module, one):
    return 'cache writes'
  if opcodes <= traffic.MOVEMENT:
    return _kind_of_movement(inner)
  kind = _kind_by_name(one.op_name, names, opcodes)
  return kind or ('reductions' if _reduces(module, one) else 'elementwise')


def _kind_of_product(
    place: hlo.Computation,
    one: hlo.Instruction,
    found: tuple[products.Product, ...],
) -> str:
  largest = max(found, key=lambda product: product.flops)
  names = [largest.op_name]
  if not names[0]:  # Compilers drop the names of products that they rewrite.
    neighbours = (*place.operands(one), *place.users[one.name])
    names = [each.op_name for each in neighbours]
  if any(map(_SUMS_OF_DRAWS.search, names)):
    return 'draws'
  if any(
      _ATTENTION.search(name) and not _PROJECTIONS.search(name)
      for name in names
  ):
    return 'attention'
  return largest.kind


def _kind_of_movement(inner: list[hlo.Instruction]) -> str:
  opcodes = {each.opcode for each in inner}
  moving = opcodes - {'bitcast', 'constant', 'parameter', 'tuple', 'reshape'}
  if moving <= {'broadcast', 'iota', 'convert'} and 'broadcast' in moving:
    return 'fills'
  return 'casts' if moving == {'convert'} else 'copies'


def _kind_by_name(own: str, names: list[str], opcodes: set[str]) -> str | None:
  for kind, pattern in (
      ('draws', _DRAWS),
      ('norms', _NORM),
      ('attention', _ATTENTION),
  ):
    if pattern.search(own):
      return kind
  if 'rsqrt' in opcodes and any(map(_NORM.search, names)):
    return 'norms'
  return None


def _reduces(module: hlo.Module, one: hlo.Instruction) -> bool:
  """Whether a kernel returns sums or maxima."""
  if one.opcode == 'fusion':
    one = module.computations[one.called[0]].root
  return one.opcode in ('reduce', 'reduce-window')
