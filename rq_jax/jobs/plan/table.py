"""Writes a plan as text, for a terminal 80 columns wide."""

from collections.abc import Iterable
import textwrap

from rq_jax.jobs.plan import chips
from rq_jax.jobs.plan import estimate as plan_lib

# Chips for which the training rate is estimated.
CHIPS = ('H100', 'A100', 'TPU v4', 'TPU v5p')
UTILISATION = 0.4
# Number of rows in the table of arrays; the rest is summed up.
_ROWS = 12
_SAFETENSORS = '`convert --to=safetensors` exports any model.'


def text(plan: plan_lib.Plan) -> str:
  """A whole plan, in sections."""
  sections = (
      _mesh(plan),
      _parameters(plan),
      _arrays(plan.arrays),
      _memory(plan),
      _operations(plan),
      _export(plan),
  )
  return '\n\n'.join('\n'.join(lines) for lines in sections)


def images_per_second(plan: plan_lib.Plan) -> dict[str, float]:
  """Training rate of one chip of each kind, at `UTILISATION` of its peak."""
  return {
      name: UTILISATION * chips.named(name).flops(plan.dtype) / plan.step_flops
      for name in CHIPS
  }


def _mesh(plan: plan_lib.Plan) -> Iterable[str]:
  axes = ', '.join(f'{axis} {size}' for axis, size in plan.mesh.items())
  share = plan.batch_size // (plan.mesh['data'] * plan.mesh['fsdp'])
  yield f'Mesh: {axes}. Images per step: {plan.batch_size}, per device {share}.'
  if plan.slices > 1:
    data = plan.mesh['data'] // plan.slices
    yield f'{plan.slices} slices, each with data {data} and the other axes.'


def _parameters(plan: plan_lib.Plan) -> Iterable[str]:
  yield _number('Parameters', sum(plan.parameters.values()))
  for part, number in plan.parameters.items():
    yield _number(f'  {part}', number)
  for name, number in plan.others.items():
    yield _number(f'In addition: {name}', number)


def _number(label: str, number: int) -> str:
  return f'{label:28}{number:>16,}'


def _arrays(arrays: tuple[plan_lib.Array, ...]) -> Iterable[str]:
  yield 'Largest arrays: axes, and mesh axes that split them; MiB per device'
  shown, rest = arrays[:_ROWS], arrays[_ROWS:]
  for array in shown:
    alike = f' and {array.count - 1} alike' if array.count > 1 else ''
    shape = 'x'.join(map(str, array.shape))
    axes = ', '.join(
        f'{axis}:{split}' if split else axis
        for axis, split in zip(array.axes, array.split)
    )
    size = _mebibytes(array.count * array.bytes_per_device)
    yield f'  {array.name + alike:66}{size:>10}'
    yield f'    {array.dtype}[{shape}]  {axes}'
  if rest:
    count = sum(array.count for array in rest)
    size = sum(array.count * array.bytes_per_device for array in rest)
    yield f'  {f"and {count} smaller ones":66}{_mebibytes(size):>10}'


def _memory(plan: plan_lib.Plan) -> Iterable[str]:
  yield 'Memory of each device, MiB'
  for name, size in plan.memory.items():
    yield f'  {name:26}{_mebibytes(size):>16}'
  yield f'  {"total":26}{_mebibytes(sum(plan.memory.values())):>16}'
  for note in plan.notes:
    yield f'  {note}'


def _mebibytes(size: int) -> str:
  return f'{size / 2**20:,.1f}'


def _operations(plan: plan_lib.Plan) -> Iterable[str]:
  yield 'Floating-point operations per image, 10^9'
  yield f'  {"forward pass":26}{_billions(plan.forward_flops):>16}'
  yield f'  {"training step":26}{_billions(plan.step_flops):>16}'
  rates = ', '.join(
      f'{name} {rate:,.0f}' for name, rate in images_per_second(plan).items()
  )
  yield (
      f'Images per second of one device at {UTILISATION:.0%} of its peak for'
      f' {plan.dtype}:'
  )
  yield f'  {rates}.'


def _export(plan: plan_lib.Plan) -> Iterable[str]:
  answer = 'no' if plan.obstacles else 'yes'
  if not plan.obstacles and not plan.complete:
    answer += ', if its tokenizer can be exported'
  yield f'Export to the official code: {answer}'
  if plan.obstacles:
    for sentence in (*plan.obstacles, _SAFETENSORS):
      yield from textwrap.wrap(
          sentence, 80, initial_indent='  ', subsequent_indent='    '
      )


def _billions(number: float) -> str:
  return f'{number / 1e9:,.1f}' if number > 1e10 else f'{number / 1e9:.3g}'
