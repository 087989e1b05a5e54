"""Writes the times of loading as text, for terminals of 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rq_jax.reports import columns


def text(records: Sequence[Mapping[str, Any]]) -> str:
  """The records of one run: rates by workers, shares, and the model's rate."""
  first = records[0]
  sections = (_rates(first, records), _shares(first), _consumed(first, records))
  return '\n\n'.join('\n'.join(lines) for lines in sections)


def _rates(
    first: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> Iterable[str]:
  data = first['data']
  yield (
      f'Images per second from disk to batch: {first["images"]} images of'
      f' {data["source"]}, batches of {first["images_per_batch"]}'
  )
  rows = [('workers', 'loader', f'bare loop ({first["threads"]} threads)', '')]
  for record in records:
    rows.append(
        (
            str(record['workers']),
            f'{record["loader"]:,.1f}',
            f'{record["bare_loop"]:,.1f}',
            f'{record["ratio"]:.2f} of the loop',
        )
    )
  yield from columns.aligned(rows)


def _shares(first: Mapping[str, Any]) -> Iterable[str]:
  seconds = first['seconds_per_image']
  total = sum(seconds.values())
  yield f'One thread needs {1e3 * total:.2f} ms per image:'
  rows = [
      (name, f'{1e3 * value:.2f} ms', f'{value / total:.0%}')
      for name, value in seconds.items()
  ]
  yield from columns.aligned(rows, left=1)


def _consumed(
    first: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> Iterable[str]:
  best = max(record['loader'] for record in records)
  yield (
      'Images per second that one chip trains on, estimated for'
      f' {first["utilisation"]:.0%} of its peak,'
  )
  yield 'and the share of them that this machine loads at best:'
  rows = [
      (chip, f'{rate:,.1f}', f'{best / rate:.0%}')
      for chip, rate in first['consumed'].items()
  ]
  yield from columns.aligned(rows, left=1)
