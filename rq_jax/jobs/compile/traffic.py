"""The bytes that a kernel moves, and its elementwise operations."""

from collections.abc import Iterable
import re

from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import pallas

# Read only the part of their first operand that they return.
_SLICING = ('dynamic-slice', 'slice', 'gather')
# Change neither the values nor, in the same layout, the bytes of an array.
_VIEWS = ('bitcast', 'reshape', 'get-tuple-element', 'convert', 'copy')
# Write into their first operand: the operand with the values that they write.
_WRITTEN = {'dynamic-update-slice': 1, 'scatter': 2}
# Instructions that compute nothing.
MOVEMENT = frozenset({
    'bitcast', 'broadcast', 'concatenate', 'constant', 'convert', 'copy',
    'copy-start', 'dynamic-slice', 'dynamic-update-slice', 'gather',
    'get-tuple-element', 'iota', 'pad', 'parameter', 'reshape', 'reverse',
    'slice', 'slice-start', 'transpose', 'tuple',
})  # fmt: skip
# Instructions that are more than one operation per element of their result.
_CONTAINERS = frozenset({'fusion', 'call', 'while', 'conditional'})
_REDUCING = ('reduce', 'reduce-window', 'select-and-scatter')


def moved_bytes(
    module: hlo.Module, computation: hlo.Computation, one: hlo.Instruction
) -> int:
  """Bytes of the main memory that an instruction reads and writes.

  Slices, and slices written in place, count only their own bytes.
  """
  operands = computation.operands(one)
  if found := pallas.described(one):
    return int(found['bytes'])
  if one.opcode in _SLICING:
    return 2 * _main(one.shapes)
  if one.opcode == 'slice-start':  # The result holds the operand, and a part.
    part = one.shapes[-2]
    return part.bytes * (operands[0].shapes[0].space == 0) + _main([part])
  if one.opcode == 'copy-start':  # The result holds a copy, and the operand.
    return _main(one.shapes[:1]) + _main(operands[0].shapes)
  if one.opcode in _WRITTEN:
    return 2 * _main(operands[_WRITTEN[one.opcode]].shapes)
  if one.opcode != 'fusion':
    written = _main(one.shapes) - _main(_in_place(one))
    return sum(_main(x.shapes) for x in operands) + written
  fused = module.computations[one.called[0]]
  read = sum(
      min(_read(fused, parameter), _main(operand.shapes))
      for parameter, operand in zip(fused.parameters, operands)
  )
  return read + _stored(fused, one)


def _main(shapes: Iterable[hlo.Shape]) -> int:
  """Bytes of the arrays that are in the main memory of the device."""
  return sum(shape.bytes for shape in shapes if shape.space == 0)


def _in_place(one: hlo.Instruction) -> list[hlo.Shape]:
  """The results of a custom call, such as a Pallas kernel, that are operands.

  It writes them in place; how much of them is unknown, and counts nothing.
  """
  pairs = one.attribute('output_to_operand_aliasing')
  places = re.findall(r'\{(\d*)\}: \(\d+', pairs)
  return [one.shapes[int(place or 0)] for place in places]


def _read(fused: hlo.Computation, parameter: hlo.Instruction) -> int:
  """Bytes that a fusion reads of one of its parameters."""
  read = 0
  for user in fused.users[parameter.name]:
    first = user.operands[0] == parameter.name
    if first and user.opcode in _SLICING:
      read += user.bytes
    elif first and user.opcode in _WRITTEN:
      continue  # It is written in place.
    elif user.opcode in _VIEWS and not user.is_root:
      read += _read(fused, user)
    else:
      return parameter.bytes
  return min(read, parameter.bytes)


def _stored(fused: hlo.Computation, one: hlo.Instruction) -> int:
  """Bytes that a fusion writes."""
  root = fused.root
  results = fused.operands(root) if root.opcode == 'tuple' else [root]
  if len(results) != len(one.shapes):
    return _main(one.shapes)
  return sum(
      _written(fused, result, shape)
      for result, shape in zip(results, one.shapes)
      if shape.space == 0
  )


def _written(
    fused: hlo.Computation, result: hlo.Instruction, shape: hlo.Shape
) -> int:
  while result.opcode in _VIEWS and result.operands:
    result = fused.operands(result)[0]
  if result.opcode not in _WRITTEN:
    return shape.bytes
  return fused.operands(result)[_WRITTEN[result.opcode]].bytes


def writes_slices(module: hlo.Module, one: hlo.Instruction) -> bool:
  """Whether an instruction writes slices of larger arrays, in place."""
  if one.opcode in _WRITTEN:
    return True
  if one.opcode != 'fusion':
    return False
  fused = module.computations[one.called[0]]
  root = fused.root
  results = fused.operands(root) if root.opcode == 'tuple' else [root]
  return all(
      _written(fused, result, result.shapes[0]) < result.shapes[0].bytes
      for result in results
  )


def operations(module: hlo.Module, one: hlo.Instruction) -> int:
  """Elementwise operations of an instruction that is no product."""
  if one.opcode == 'fusion':
    return sum(
        _elements(computation, inner)
        for computation, inner in module.inside(one)
    )
  return one.shapes[0].size if one.opcode not in MOVEMENT and one.shapes else 0


def _elements(computation: hlo.Computation, one: hlo.Instruction) -> int:
  if one.opcode in MOVEMENT or one.opcode in _CONTAINERS:
    return 0
  if one.opcode in _REDUCING:
    return computation.operands(one)[0].shapes[0].size
  return one.shapes[0].size
