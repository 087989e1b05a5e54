"""The matrix products and convolutions of a kernel."""

from collections.abc import Iterator
import dataclasses
import math
import re

from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import pallas

_DTYPES = {'bf16': 'bfloat16', 'f32': 'float32', 'f16': 'float16'}
# The second factor may be rows, not weights, if it has fewer rows than this.
_FEW_ROWS = 128


@dataclasses.dataclass(frozen=True)
class Product:
  """A matrix product or a convolution.

  Attributes:
    kind: 'products', 'convolutions' or 'weight gradients'.
    flops: Operations; a multiplication and an addition are two.
    dtype: Type of the numbers that are multiplied.
    smallest: The smallest of rows, columns and summed numbers.
    by_output: Whether the weights of an output lie together.
    split: Number of parts of the sum, which another kernel adds up.
    op_name: Names of the modules and functions that it is from.
  """

  kind: str
  flops: int
  dtype: str
  smallest: int = 1
  by_output: bool = False
  split: int = 1
  op_name: str = ''


def find(
    module: hlo.Module, computation: hlo.Computation, one: hlo.Instruction
) -> Iterator[Product]:
  """The matrix products and convolutions of an instruction."""
  inside = (
      module.inside(one) if one.opcode == 'fusion' else [(computation, one)]
  )
  for place, inner in inside:
    if inner.opcode == 'dot':
      yield _dot(place, inner)
    elif inner.opcode == 'convolution':
      yield _convolution(place, inner)
    elif inner.opcode == 'custom-call' and (found := _custom(place, inner)):
      yield found


def _dot(computation: hlo.Computation, one: hlo.Instruction) -> Product:
  left, right = (x.shapes[0] for x in computation.operands(one)[:2])
  summed = one.numbers('lhs_contracting_dims')
  batch = one.numbers('lhs_batch_dims')
  inner = math.prod(left.dims[i] for i in summed)
  copies = math.prod(left.dims[i] for i in batch)
  rows = left.size // (inner * copies)
  columns = right.size // (inner * copies)
  # On CPUs, weights are the first factor of few rows; see `models/few_rows.py`.
  first = columns < min(_FEW_ROWS, rows, inner)
  side, weights = ('lhs', left) if first else ('rhs', right)
  contracted = one.numbers(f'{side}_contracting_dims')
  return Product(
      kind='products',
      flops=2 * copies * rows * columns * inner,
      dtype=_dtype(left.dtype),
      smallest=min(rows, columns, inner),
      by_output=bool(weights.layout) and weights.layout[0] in contracted,
      split=copies if _is_split(one) else 1,
      op_name=one.op_name,
  )


def _is_split(one: hlo.Instruction) -> bool:
  """Whether a product has a batch only because its sum is divided.

  Products with a real batch name it in their equation, as in 'bqk,bkc->bqc'.
  """
  if len(one.numbers('lhs_batch_dims')) != 1:
    return False
  equation = re.search(r'(\w+),(\w+)->(\w+)', one.op_name)
  return not (equation and set.intersection(*map(set, equation.groups())))


def _dtype(dtype: str) -> str:
  """The name that JAX gives to a dtype of XLA."""
  return _DTYPES.get(dtype, dtype)


def _convolution(computation: hlo.Computation, one: hlo.Instruction) -> Product:
  left, right = (x.shapes[0] for x in computation.operands(one)[:2])
  inputs, kernel, outputs = _labels(one)
  sizes = dict(zip(inputs, left.dims)), dict(zip(kernel, right.dims))
  result = dict(zip(outputs, one.shapes[0].dims))
  window = _window(one, len(inputs) - 2)
  valid = math.prod(
      _valid(int(result[d]), int(sizes[0][d]), *window[i])
      for i, d in enumerate(sorted(set(inputs) - set('bf')))
  )
  groups = one.numbers('batch_group_count') or (1,)
  rows = sizes[0]['b'] // groups[0]
  terms = rows * sizes[1]['i'] * sizes[1]['o'] * valid
  spatial = [int(result[d]) for d in sorted(set(inputs) - set('bf'))]
  is_product = 'dot_general' in one.op_name  # TPUs have no other products.
  grown = spatial and all(size[0] > side for size, side in zip(window, spatial))
  kind = 'weight gradients' if grown else 'convolutions'
  columns = max(1, min(sizes[1]['o'], sizes[1]['i']))
  return Product(
      kind='products' if is_product else kind,
      flops=2 * terms,
      dtype=_dtype(left.dtype),
      smallest=min(columns, max(1, terms // (sizes[1]['o'] * sizes[1]['i']))),
      op_name=one.op_name,
  )


def _labels(one: hlo.Instruction) -> tuple[str, str, str]:
  """The names of the dimensions of input, kernel and output."""
  match = re.fullmatch(r'(\w+)_(\w+)->(\w+)', one.attribute('dim_labels'))
  assert match is not None  # Every convolution has them.
  return match[1], match[2], match[3]


def _window(one: hlo.Instruction, count: int) -> list[tuple[int, ...]]:
  """Size, stride, padding before, dilation of the input and of the window."""
  text = one.attribute('window').strip('{}')
  fields = dict(part.split('=') for part in text.split() if '=' in part)

  def read(name, default):
    return fields[name].split('x') if name in fields else [default] * count

  return [
      (int(size), int(stride), int(pad.split('_')[0]), int(left), int(right))
      for size, stride, pad, left, right in zip(
          read('size', '1'),
          read('stride', '1'),
          read('pad', '0_0'),
          read('lhs_dilate', '1'),
          read('rhs_dilate', '1'),
      )
  ]


def _valid(outputs, inputs, size, stride, before, left, right) -> int:
  """Pairs of an output and a place in the window that meet an input."""
  last = (inputs - 1) * left
  return sum(
      0 <= place <= last and place % left == 0
      for output in range(outputs)
      for place in range(
          output * stride - before,
          output * stride - before + size * right,
          right,
      )
  )


def _custom(
    computation: hlo.Computation, one: hlo.Instruction
) -> Product | None:
  """The product of a library of the GPU; None for other custom calls."""
  if found := pallas.described(one):
    return _described(one, found) if found['flops'] != '0' else None
  shapes = [x.shapes[0] for x in computation.operands(one) if x.shapes]
  if 'cudnn$conv' in one.target:
    kernel = one.shapes[0] if 'Filter' in one.target else shapes[1]
    outputs = {
        'Input': shapes[0],
        'Filter': shapes[1],
    }.get(one.target.rpartition('Backward')[2], one.shapes[0])
    _, labels, _ = _labels(one)
    columns = dict(zip(labels, kernel.dims))['o']
    return Product(
        kind='weight gradients' if 'Filter' in one.target else 'convolutions',
        flops=2 * outputs.size * kernel.size // columns,
        dtype=_dtype(shapes[0].dtype),
        op_name=one.op_name,
    )
  if 'gemm' in one.target or 'matmul' in one.target:
    left, right, result = shapes[0], shapes[1], one.shapes[0]
    # (b m k) (b k n) (b m n) = b (b m n k)^2, and b is 1 for weights.
    flops = 2 * math.isqrt(left.size * right.size * result.size)
    return Product(
        kind='products',
        flops=flops,
        dtype=_dtype(left.dtype),
        smallest=min((*left.dims, *right.dims), default=1),
        op_name=one.op_name,
    )
  return None


def _described(one: hlo.Instruction, found: dict[str, str]) -> Product:
  return Product(
      kind='products',
      flops=int(found['flops']),
      dtype=found['dtype'],
      smallest=int(found['rows']),
      op_name=one.op_name,
  )
