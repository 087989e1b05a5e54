"""Reads the text of compiled programs (XLA's HLO): computations and shapes.

https://openxla.org/xla/hlo_dumps describes the text.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import functools
import math
import re

# Bits of an element of the types whose names hold no number.
_BITS = {'pred': 8, 'token': 0, 'opaque': 0}
_SHAPE = re.compile(
    r'(?:/\*index=\d+\*/)?\s*([a-z]\w*)\[([\d,<= ]*)\](\{[^}]*\})?'
)
_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$')
_INSTRUCTION = re.compile(r'\s+(ROOT )?%?([\w.\-]+) = ')
_OPCODE = re.compile(r'\s*([a-z][\w\-]*)\(')
_OPERAND = re.compile(r'%([\w.\-]+)')
_CALLED = re.compile(
    r'(?:calls|to_apply|body|condition|true_computation|false_computation)='
    r'%?([\w.\-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_OPENING, _CLOSING = '([{', ')]}'


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array.

  Attributes:
    dtype: Type of its elements, such as 'bf16'.
    dims: Its dimensions.
    layout: Its dimensions from the fastest changing one to the slowest.
    space: Number of its memory space; 0 is the main memory of the device.
  """

  dtype: str
  dims: tuple[int, ...] = ()
  layout: tuple[int, ...] = ()
  space: int = 0

  @property
  def size(self) -> int:
    """Number of elements."""
    return math.prod(self.dims)

  @property
  def bytes(self) -> int:
    """Number of bytes, without padding."""
    bits = _BITS.get(self.dtype)
    if bits is None:  # The first number of a name such as f32 or f8e4m3fn.
      bits = int(re.findall(r'\d+', self.dtype)[0])
    return self.size * bits // 8

  def __str__(self) -> str:
    return f'{self.dtype}[{",".join(map(str, self.dims))}]'


@dataclasses.dataclass(frozen=True)
class Instruction:
  """An instruction of a computation.

  Attributes:
    name: Its name, unique in the program.
    opcode: What it does, such as 'fusion'.
    shapes: Its result; several arrays if it is a tuple.
    operands: Names of its operands, in the same computation.
    attributes: The text after the operands.
    is_root: Whether it is the result of the computation.
    number: Number of a parameter, or value of a constant that is a whole
      number; -1 for other instructions.
  """

  name: str
  opcode: str
  shapes: tuple[Shape, ...]
  operands: tuple[str, ...] = ()
  attributes: str = ''
  is_root: bool = False
  number: int = -1

  @property
  def bytes(self) -> int:
    """Bytes of the result."""
    return sum(shape.bytes for shape in self.shapes)

  @functools.cached_property
  def op_name(self) -> str:
    """Names of the modules and functions that it is from; '' if unknown."""
    match = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes)
    return match[1] if match else ''

  @property
  def target(self) -> str:
    """The function of a custom call; '' for other instructions."""
    return self.attribute('custom_call_target').strip('"')

  @property
  def trip_count(self) -> int | None:
    """The number of passes of a loop; None if it is unknown."""
    match = re.search(
        r'"known_trip_count":\s*\{"n":\s*"(\d+)"', self.attributes
    )
    return int(match[1]) if match else None

  def attribute(self, name: str) -> str:
    """The value of an attribute as text; '' if there is none."""
    match = re.search(rf'(?:^|, ){name}=', self.attributes)
    if match is None:
      return ''
    return _until(self.attributes[match.end() :], ',')

  def numbers(self, name: str) -> tuple[int, ...]:
    """The numbers in the value of an attribute, such as {0,2}."""
    return tuple(map(int, re.findall(r'\d+', self.attribute(name))))

  @functools.cached_property
  def called(self) -> tuple[str, ...]:
    """Names of the computations that it calls."""
    found = _CALLED.findall(self.attributes)
    if branches := _BRANCHES.search(self.attributes):
      found += [name.strip().lstrip('%') for name in branches[1].split(',')]
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class Computation:
  """A sequence of instructions.

  Attributes:
    name: Its name.
    instructions: Its instructions by name, in order.
  """

  name: str
  instructions: Mapping[str, Instruction]

  def __iter__(self) -> Iterator[Instruction]:
    return iter(self.instructions.values())

  @functools.cached_property
  def root(self) -> Instruction:
    """The result."""
    return next(one for one in self if one.is_root)

  @functools.cached_property
  def parameters(self) -> tuple[Instruction, ...]:
    """The parameters in order."""
    found = [one for one in self if one.opcode == 'parameter']
    return tuple(sorted(found, key=lambda one: one.number))

  @functools.cached_property
  def users(self) -> Mapping[str, tuple[Instruction, ...]]:
    """The instructions that read each result, by its name."""
    found: dict[str, list[Instruction]] = {one.name: [] for one in self}
    for one in self:
      for name in dict.fromkeys(one.operands):
        found[name].append(one)
    return {name: tuple(users) for name, users in found.items()}

  def operands(self, one: Instruction) -> list[Instruction]:
    """The instructions whose results another one reads."""
    return [self.instructions[name] for name in one.operands]


@dataclasses.dataclass(frozen=True)
class Module:
  """A program of one device.

  Attributes:
    computations: Its computations by name.
    entry: The computation that runs.
    devices: Number of devices that run it together.
  """

  computations: Mapping[str, Computation]
  entry: Computation
  devices: int

  def inside(
      self, one: Instruction
  ) -> Iterator[tuple[Computation, Instruction]]:
    """All instructions of a fusion, also of fusions in it."""
    for name in one.called:
      computation = self.computations[name]
      for inner in computation:
        yield computation, inner
        if inner.opcode == 'fusion':
          yield from self.inside(inner)


def parse(text: str) -> Module:
  """Reads a program, as `jax.stages.Compiled.as_text` returns it.

  Raises:
    ValueError: If the text has no entry, as other formats of programs.
  """
  computations, entry = {}, None
  current: dict[str, Instruction] | None = None
  for line in text.splitlines():
    if current is not None:
      if line.startswith('}'):
        current = None
      elif match := _INSTRUCTION.match(line):
        one = _instruction(match, line)
        current[one.name] = one
    elif match := _COMPUTATION.match(line):
      current = {}
      computations[match[2]] = Computation(match[2], current)
      entry = match[2] if match[1] else entry
  if entry is None:
    raise ValueError('The text of the compiled program has no entry.')
  header = text[: text.find('\n')]
  counts = re.findall(r'(?:replica_count|num_partitions)=(\d+)', header)
  return Module(
      computations=computations,
      entry=computations[entry],
      devices=math.prod(map(int, counts)),
  )


def shapes(text: str) -> tuple[Shape, ...]:
  """The arrays of a type, such as (f32[2,3]{1,0}, s32[])."""
  return tuple(map(_shape, _SHAPE.finditer(text)))


def _shape(match: re.Match[str]) -> Shape:
  dtype, dims, layout = match.groups()
  numbers = re.findall(r'\d+', dims)
  order, _, tiling = (layout or '{}')[1:-1].partition(':')
  space = re.search(r'S\((\d+)\)', tiling)
  return Shape(
      dtype=dtype,
      dims=tuple(map(int, numbers)),
      layout=tuple(map(int, re.findall(r'\d+', order))),
      space=int(space[1]) if space else 0,
  )


def _instruction(match: re.Match[str], line: str) -> Instruction:
  rest = line[match.end() :]
  kind = _until(rest, ' ')
  found = _OPCODE.match(rest, len(kind))
  assert found is not None  # Every instruction has an opcode.
  inside = _until(rest[found.end() :], ')')
  literal = found[1] in ('constant', 'parameter')
  return Instruction(
      name=match[2],
      opcode=found[1],
      shapes=shapes(kind),
      operands=(() if literal else tuple(_OPERAND.findall(inside))),
      attributes=rest[found.end() + len(inside) + 1 :].removeprefix(', '),
      is_root=bool(match[1]),
      number=int(inside) if literal and inside.isdecimal() else -1,
  )


def _until(text: str, end: str) -> str:
  """The text before the first `end` that is outside of any brackets."""
  depth, quoted = 0, False
  for match in re.finditer(rf'\\.|[(){{}}\[\]"{end}]', text):
    letter = match[0]
    if letter == '"':
      quoted = not quoted
    elif quoted or letter[0] == '\\':
      continue
    elif letter == end and not depth:
      return text[: match.start()]
    elif letter in _OPENING:
      depth += 1
    elif letter in _CLOSING:
      depth -= 1
  return text
