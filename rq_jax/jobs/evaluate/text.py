"""The results as a table, for terminals."""

from collections.abc import Iterator, Mapping
import textwrap
from typing import Any

from rq_jax.evaluation import dialects
from rq_jax.evaluation import fingerprint
from rq_jax.reports import columns

_DIGITS = {
    **dict.fromkeys(('is', 'psnr'), 3),
    **dict.fromkeys(('fid', 'sfid', 'clip_fid', 'classifier_fid'), 4),
}
_OTHERS = 5


def table(found: Mapping[str, Any]) -> str:
  """The results, notes on them, and what is left out."""
  lines = list(columns.aligned(rows(found), left=2))
  for result in found['results']:
    name = title(result)
    for key in ('note', 'no_interval'):
      if key in result:
        lines += _wrapped(f'{name}: {result[key]}')
  for remark in found['remarks']:
    lines += _wrapped(remark)
  for reason, names in left_out(found).items():
    lines += _wrapped(f'Left out: {", ".join(names)}: {reason.rstrip(".")}.')
  for name in dict.fromkeys(r['dialect'] for r in found['results']):
    if name is not None:
      checked = dialects.DIALECTS[name].checked_against
      parts = '; '.join(f'{part}: {what}' for part, what in checked.items())
      lines += _wrapped(f'{name} was checked against: {parts}.')
  for result in found['results']:
    lines += _wrapped(fingerprint.line(result['fingerprint']))
  return '\n'.join(lines)


def rows(found: Mapping[str, Any]) -> list[list[str]]:
  """The cells of the table, with its head."""
  head = ['metric', 'dialect', 'value', '95 % interval', 'N', 'N reference']
  return [head] + [
      [
          result['metric'],
          result['dialect'] or '-',
          number(result, result['value']),
          interval(result),
          f'{result["n"]:,}',
          f'{result["n_reference"]:,}' if result.get('n_reference') else '-',
      ]
      for result in found['results']
  ]


def left_out(found: Mapping[str, Any]) -> dict[str, list[str]]:
  """The metrics that are left out, by the reason."""
  reasons: dict[str, list[str]] = {}
  for name, reason in found['left_out'].items():
    reasons.setdefault(reason, []).append(name)
  return reasons


def number(result: Mapping[str, Any], value: float) -> str:
  """A value of a metric, with as many digits as people state."""
  return f'{value:.{_DIGITS.get(result["metric"], _OTHERS)}f}'


def interval(result: Mapping[str, Any]) -> str:
  """The interval of a value, or '-'."""
  if result['interval'] is None:
    return '-'
  low, high = (number(result, value) for value in result['interval'])
  return f'{low} to {high}'


def title(result: Mapping[str, Any]) -> str:
  """The metric and its dialect."""
  dialect = result['dialect']
  return f'{result["metric"]} ({dialect})' if dialect else result['metric']


def _wrapped(text: str) -> Iterator[str]:
  return iter(
      textwrap.wrap(text, 80, subsequent_indent='  ', break_on_hyphens=False)
  )
