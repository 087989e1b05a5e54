"""Writes the results of a benchmark as tables, for terminals of 80 columns."""

from collections.abc import Iterable, Sequence
import itertools

from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.benchmark.measured import Record
from rq_jax.reports import columns


def tables(records: Sequence[Record]) -> str:
  """Times, the roofline and the calibration of the records of one run."""
  sections = [_environment(records[0])]
  for name, found in itertools.groupby(records, lambda r: r['model']):
    of_model = list(found)
    sections += [
        _times(name, of_model),
        _shares(of_model),
        _products(of_model),
    ]
  return '\n\n'.join('\n'.join(lines) for lines in sections)


def _environment(record: Record) -> Iterable[str]:
  found, measured = record['environment'], record['calibration']
  yield (
      f'{record["dtype"]} on one {found["device"]} ({found["platform"]}),'
      f' {found["threads"]} CPU threads'
  )
  yield ', '.join(f'{n} {v}' for n, v in found['versions'].items())
  rates = _rates(
      measured['product_flops_per_second'], measured['copy_bytes_per_second']
  )
  yield f'Measured by a large product and a large copy: {rates}'


def _times(name: str, records: Sequence[Record]) -> Iterable[str]:
  yield f'{name}: milliseconds per image; CPU seconds per batch'
  rows = [('batch', 'total', 'codes', 'decoding', 'CPU s', 'compile s', 'MiB')]
  for record in records:
    each = record['ms_per_image']
    compiled = record['compile_seconds'].values()
    rows.append(
        (
            str(record['batch_size']),
            f'{each["total"]:.3f}',
            f'{each["autoregression"]:.3f}',
            f'{each["decoding"]:.3f}' if 'decoding' in each else '-',
            f'{sum(record["cpu_seconds"].values()):.3g}',
            f'{sum(part["first_call"] for part in compiled):.1f}',
            f'{record["peak_memory"]["bytes"] / 2**20:,.0f}',
        )
    )
  yield from columns.aligned(rows)
  yield (
      '  codes: the autoregression. CPU s: of all threads. MiB: peak memory of'
      f' the\n  {records[0]["peak_memory"]["of"]} so far.'
  )


def _shares(records: Sequence[Record]) -> Iterable[str]:
  found = records[0]['roofline']
  yield (
      f'Least time at the peak of {found["chip"]}, as a share of the measured'
      ' time'
  )
  rates = _rates(found['flops_per_second'], found['bytes_per_second'])
  yield f'  {rates} ({found["source"]})'
  shares = [record['roofline']['share'] for record in records]
  # The decoder's only term is the same as the part 'decoding'.
  terms = [name for name in shares[0] if name != roofline.DECODER]
  yield from columns.aligned(
      [
          ('batch', *(str(record['batch_size']) for record in records)),
          *(
              (name, *(f'{share[name]:.1%}' for share in shares))
              for name in terms
          ),
      ],
      left=1,
  )
  if any(part > 1 for share in shares for part in share.values()):
    yield '  Above 100 %: weights that stay in a cache are not read again.'


def _products(records: Sequence[Record]) -> Iterable[str]:
  yield 'Milliseconds per batch: the autoregression, and only its products'
  rows = [('batch', 'all', 'products', 'ratio', 'of CPU s')]
  for record in records:
    found = record['bare_products']
    rows.append(
        (
            str(record['batch_size']),
            f'{1e3 * record["seconds"]["autoregression"]["median"]:.1f}',
            f'{1e3 * found["seconds"]["median"]:.1f}',
            f'{found["ratio"]:.2f}',
            f'{found["cpu_ratio"]:.2f}',
        )
    )
  yield from columns.aligned(rows)


def _rates(flops: float, transfer: float) -> str:
  return f'{flops / 1e12:.3g} TFLOP/s, {transfer / 1e9:.4g} GB/s'
