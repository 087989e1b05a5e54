"""Writes what a benchmark found as tables, for a terminal."""

from collections.abc import Iterable, Sequence

from rq_jax.jobs.benchmark_record import Record


def tables(records: Sequence[Record]) -> str:
  """Times, memory, the roofline and the calibration of records of one run."""
  sections = (
      _header(records[0]),
      _times(records),
      _shares(records),
      _calibration(records),
  )
  return '\n\n'.join('\n'.join(lines) for lines in sections)


def columns(rows: Sequence[Sequence[str]], left: int = 0) -> Iterable[str]:
  """Rows of cells in columns, aligned right but for the first `left`."""
  widths = [max(map(len, column)) for column in zip(*rows)]
  for row in rows:
    cells = [
        cell.ljust(width) if i < left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths))
    ]
    yield '  ' + '  '.join(cells).rstrip()


def _header(record: Record) -> Iterable[str]:
  found = record['environment']
  versions = ', '.join(f'{n} {v}' for n, v in found['versions'].items())
  yield (
      f'{record["dtype"]} on one {found["device"]} ({found["platform"]},'
      f' {found["threads"]} CPU threads); {versions}'
  )


def _times(records: Sequence[Record]) -> Iterable[str]:
  held = records[0]['peak_memory']['of']
  yield 'Milliseconds an image; of a batch, CPU seconds and seconds to compile'
  rows = [('model', 'batch', 'total', 'codes', 'decoding', 'CPU s', 'compile s',
           f'MiB of {held}')]  # fmt: skip
  for record in records:
    each = record['ms_per_image']
    compiled = record['compile_seconds'].values()
    rows.append(
        (
            record['model'],
            str(record['batch_size']),
            f'{each["total"]:.3f}',
            f'{each["autoregression"]:.3f}',
            f'{each["decoding"]:.3f}' if 'decoding' in each else '-',
            f'{sum(record["cpu_seconds"].values()):.2f}',
            f'{sum(part["first_call"] for part in compiled):.1f}',
            f'{record["peak_memory"]["bytes"] / 2**20:,.0f}',
        )
    )
  yield from columns(rows, left=1)
  yield '  codes: the autoregression. Memory is the peak of the run so far.'


def _shares(records: Sequence[Record]) -> Iterable[str]:
  chip = records[0]['roofline']
  yield (
      f'Share of the time that the work would take at best: on {chip["chip"]},'
      f' {_rates(chip["flops_per_second"], chip["bytes_per_second"])}'
      f' ({chip["source"]})'
  )
  names = list(
      dict.fromkeys(n for r in records for n in r['roofline']['share'])
  )
  rows = [('batch', *names)]
  for record in records:
    share = record['roofline']['share']
    rows.append(
        (
            str(record['batch_size']),
            *(f'{share[n]:.1%}' if n in share else '-' for n in names),
        )
    )
  yield from columns(rows)
  if any(part > 1 for r in records for part in r['roofline']['share'].values()):
    yield '  More than 100 %: weights that stay in a cache are not read anew.'


def _calibration(records: Sequence[Record]) -> Iterable[str]:
  first = records[0]['calibration']
  rates = _rates(
      first['product_flops_per_second'], first['copy_bytes_per_second']
  )
  yield f'Measured here: {rates}, by a large product and a large copy.'
  yield 'Milliseconds a batch: the autoregression, and its products alone'
  rows = [('model', 'batch', 'products', 'all', 'ratio', 'of CPU s')]
  for record in records:
    found = record['bare_products']
    rows.append(
        (
            record['model'],
            str(record['batch_size']),
            f'{1e3 * found["seconds"]["median"]:.1f}',
            f'{1e3 * record["seconds"]["autoregression"]["median"]:.1f}',
            f'{found["ratio"]:.2f}',
            f'{found["cpu_ratio"]:.2f}',
        )
    )
  yield from columns(rows, left=1)


def _rates(flops: float, transfer: float) -> str:
  return f'{flops / 1e12:.3g} TFLOP/s and {transfer / 1e9:.4g} GB/s'
