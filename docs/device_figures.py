"""Prints the tables of a device check, from the file that it wrote.

  bash launch/device_check.sh --out=device.json
  python docs/device_figures.py device.json

Needs only Python. Targets are those of docs/results.md.

The difference of a kernel is relative to the largest number of its plain form.
Of codes that are drawn, it is the share that differs.
"""

import json
import sys

# Milliseconds per image with decoding, by batch; see docs/results.md.
TARGETS = {1: 110, 8: 14, 64: 2.6, 500: 1.5}


def tables(record: dict) -> str:
  """All parts of a record as Markdown."""
  found = record['environment']
  versions = ', '.join(f'{n} {v}' for n, v in found['versions'].items())
  lines = [f'{found["device"]}, {versions}']
  if record['small']:
    lines.append('Tiny models, only to try the check.')
  for name, part in record['parts'].items():
    done = [case['found'] for case in part if case['state'] == 'done']
    lines += ['', f'**{name}**', '']
    if done:
      lines += _PARTS[name](part, record)
    lines += [
        f'- {case["case"]}: {case["state"]}: {case["reason"]}'
        for case in part
        if case['state'] != 'done'
    ]
  return '\n'.join(lines)


def _rows(head: str, rows: list[list[str]]) -> list[str]:
  columns = head.count('|') + 1
  lines = [f'| {head} |', '|' + '---|' * columns]
  return lines + [f'| {" | ".join(row)} |' for row in rows] + ['']


def _done(part: list[dict]) -> list[tuple[str, dict]]:
  return [(c['case'], c['found']) for c in part if c['state'] == 'done']


def _constants(part, record):
  del record
  (_, found), *_ = _done(part)
  rows = [[c['name'], f'{c["value"]:.4g} {c["unit"]}'] for c in found]
  return _rows('constant | measured', rows)


def _sampling(part, record):
  decoded = {
      found['batch_size']: found['ms_per_image']
      for _, found in _done(record['parts'].get('decoding', []))
  }
  rows = []
  for _, found in _done(part):
    batch, each = found['batch_size'], found['ms_per_image']
    total = each + decoded[batch] if batch in decoded else None
    target = None if record['small'] else TARGETS.get(batch)
    rows.append(
        [
            str(batch),
            found['kernels'],
            f'{each:.3g}',
            f'{found["us_per_position"]:.4g}',
            f'{found["ideal_seconds"] / found["seconds"]["median"]:.0%}',
            f'{total:.3g}' if total else '-',
            f'{target:g}' if target else '-',
            f'{found["first_call_seconds"]:.0f}',
        ]
    )
  return _rows(
      'batch | kernels | codes, ms per image | us a position | least time of'
      ' measured | with decoding, ms | target, ms | first call, s',
      rows,
  )


def _training(part, record):
  del record
  rows = [
      [
          name,
          str(found['batch_size']),
          str(found['accumulate']),
          found['dtype'],
          *(f'{found["seconds"][n]:.3g}' for n in ('median', 'min', 'max')),
          f'{found["images_per_second"]:.3g}',
          f'{found["peak"]["share"]:.1%}',
          f'{found["peak_memory"]["bytes"] / 2**30:.1f}',
          f'{found["compile_seconds"]["first_call"]:.0f}',
      ]
      for name, found in _done(part)
  ]
  return _rows(
      'step | batch | pieces | dtype | s | min | max | images/s | of the peak |'
      ' GiB, peak so far | compile, s',
      rows,
  )


def _kernels(part, record):
  del record
  rows = []
  for name, found in _done(part):
    kernel, plain = (
        1e6 * found['seconds'][n]['median'] for n in ('kernel', 'plain')
    )
    rows.append(
        [
            name,
            f'{kernel:.1f}',
            f'{plain:.1f}',
            f'{found["ratio"]:.2f}',
            f'{found["difference"]:.2g}',
            f'{found["tolerance"]:.3g}',
            f'{found["share_equal"]:.1%}',
        ]
    )
  return _rows(
      'kernel | us | plain form, us | plain / kernel | difference |'
      ' tolerance | equal',
      rows,
  )


def _greedy(part, record):
  del record
  rows = [
      [
          name,
          f'{found["codes"]:,}',
          f'{found["share_equal"]:.2%}',
          f'{found["first_position_equal"]:.2%}',
          f'{found["share_of_maps_equal"]:.1%}',
      ]
      for name, found in _done(part)
  ]
  return _rows(
      'kernels | codes | equal to the CPU | of the first position | whole maps',
      rows,
  )


def _decoding(part, record):
  del record
  rows = [
      [str(found['batch_size']), f'{found["ms_per_image"]:.3g}']
      for _, found in _done(part)
  ]
  return _rows('batch | decoding, ms per image', rows)


_PARTS = {
    'constants': _constants,
    'sampling': _sampling,
    'training': _training,
    'kernels': _kernels,
    'greedy': _greedy,
    'decoding': _decoding,
}


if __name__ == '__main__':
  with open(sys.argv[1]) as file:
    print(tables(json.load(file)))
