"""Writes the description of a compiled program, for 80 columns."""

from collections.abc import Iterable
import textwrap

from rq_jax.jobs.compile import report


def text(record: report.Record) -> str:
  """A whole description, in sections."""
  sections = (
      _program(record),
      _memory(record),
      _kernels(record),
      _loops(record),
      _collectives(record),
      _estimate(record),
      _findings(record),
  )
  return '\n\n'.join('\n'.join(lines) for lines in map(list, sections) if lines)


def _program(record: report.Record) -> Iterable[str]:
  axes = ', '.join(f'{axis} {size}' for axis, size in record['mesh'].items())
  yield (
      f'Compiled for {record["target"]} ({record["devices"]} x'
      f' {record["device"]}) in {record["compile_seconds"]:.1f} s.'
  )
  yield (
      f'Mesh: {axes}. Images per execution: {record["images"]}. Compute dtype:'
      f' {record["dtype"]}.'
  )
  yield from record['notes']


def _memory(record: report.Record) -> Iterable[str]:
  memory = dict(record['memory'])
  chip = memory.pop('chip')
  yield 'Memory of each device, MiB'
  for name, size in memory.items():
    yield f'  {name:26}{size / 2**20:>16,.1f}'
  if chip:
    share = memory['total'] / chip
    yield f'  {"of the chip":26}{chip / 2**20:>16,.1f}{share:>8.0%}'
    if share > 1:
      yield '  It does not fit.'


def _kernels(record: report.Record) -> Iterable[str]:
  yield f'{"Kernels of one execution":28}{"number":>12}{"GB":>14}{"GFLOP":>16}'
  rows = record['kernels']
  for kind, row in rows.items():
    yield _kernel_row(kind, row)
  total = {
      name: sum(row[name] for row in rows.values())
      for name in ('executions', 'bytes', 'flops')
  }
  yield _kernel_row('total', total)


def _kernel_row(name: str, row: report.Record) -> str:
  return (
      f'  {name:26}{row["executions"]:>12,}{row["bytes"] / 1e9:>14,.3f}'
      f'{row["flops"] / 1e9:>16,.1f}'
  )


def _loops(record: report.Record) -> Iterable[str]:
  if record['loops']:
    yield f'{"Loops":36}{"passes":>8}{"kernels a pass":>16}{"GB a pass":>14}'
  for loop in record['loops']:
    yield (
        f'  {_short(loop["op_name"], 34):34}{loop["passes"]:>8,}'
        f'{loop["kernels"]:>16,}{loop["bytes"] / 1e9:>14,.3f}'
    )


def _collectives(record: report.Record) -> Iterable[str]:
  rows = record['collectives']
  if rows:
    yield f'{"Collectives":44}{"number":>12}{"GB":>14}'
  for row in rows:
    name = f'{row["kind"]} of {row["dtype"]} over {row["axes"] or "-"}'
    yield f'  {name:42}{row["executions"]:>12,}{row["bytes"] / 1e9:>14,.3f}'


def _estimate(record: report.Record) -> Iterable[str]:
  if (found := record['estimate']) is None:
    yield 'No estimate: the rates of this device are unknown.'
    return
  parts = dict(found)
  total = parts.pop('total')
  yield (
      f'Estimate (not measured): {_time(total)},'
      f' {record["images"] / total:,.0f} images per second.'
  )
  shown = [f'{kind} {_time(part)}' for kind, part in parts.items() if part > 0]
  yield from _wrapped(', '.join(shown) + '.')


def _time(seconds: float) -> str:
  return f'{seconds:.3g} s' if seconds >= 1 else f'{1e3 * seconds:.3g} ms'


def _findings(record: report.Record) -> Iterable[str]:
  if record['findings']:
    yield 'Worth a look: number, GB, and where it is from'
  for finding in record['findings']:
    yield from _wrapped(finding['what'])
    yield (
        f'    {finding["count"]:,} x, {finding["bytes"] / 1e9:,.3f} GB,'
        f' {finding["shape"]}'
    )
    if finding['op_name']:
      yield f'    {_short(finding["op_name"], 76)}'


def _wrapped(sentence: str) -> list[str]:
  return textwrap.wrap(
      sentence, 80, initial_indent='  ', subsequent_indent='    '
  )


def _short(name: str, width: int) -> str:
  """The end of a name, which says most."""
  return name if len(name) <= width else f'..{name[2 - width :]}'
