"""The results as a page with charts and images."""

from collections.abc import Mapping
import html
from typing import Any

from etils import epath
import numpy as np

from rq_jax.evaluation import fingerprint
from rq_jax.jobs.evaluate import distances
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import text
from rq_jax.reports import page
from rq_jax.reports import pictures

_SHOWN = 64  # Images of a grid.
_COLUMNS = 16


def write(
    path: epath.PathLike,
    found: Mapping[str, Any],
    comparison: distances.Comparison,
) -> None:
  """Writes the results as one self-contained page.

  Args:
    path: File to write.
    found: What `job.RESULTS` holds.
    comparison: The samples, and what they were compared with.
  """
  samples = found['images']['samples']
  title = f'Evaluation of {samples.get("path") or "images"}'
  notes = [r['note'] for r in found['results'] if 'note' in r]
  notes += found['remarks']
  sections = [
      f'<header><h1>{html.escape(title)}</h1><p class="lead">'
      f'{samples["images"]:,} images.</p></header>',
      page.section(
          'Results',
          'Intervals hold the values of other samples of the same number, not'
          ' the bias of that number.',
          page.table(text.rows(found))
          + page.warnings(list(dict.fromkeys(notes))),
      ),
      _curves(found),
      _grid('Samples', comparison.samples),
      _grid('Reference', comparison.reference),
      _left_out(found),
      _fingerprints(found),
  ]
  page.write(path, title, sections)


def _curves(found: Mapping[str, Any]) -> str:
  """FID against the number of images."""
  tables = ''
  for result in found['results']:
    if 'curve' not in result:
      continue
    curve = result['curve']
    cells = [['images', text.title(result)]]
    cells += [
        [f'{n:,}', text.number(result, value)]
        for n, value in zip(curve['n'], curve['fid'])
    ]
    if curve['limit'] is not None:
      cells.append(['infinitely many', text.number(result, curve['limit'])])
    tables += page.table(cells)
  if not tables:
    return ''
  return page.section(
      'Distances against the number of images',
      'The fewer images, the larger the distance. Compare only values of the'
      ' same number of images. The last row continues a straight line in 1/N.',
      tables,
  )


def _grid(title: str, part: Any) -> str:
  if part is None:
    return ''
  count = min(_SHOWN, len(part.images))
  shown = image_sets.pick(part.images, range(count), part.chunk_size)
  grid = pictures.grid(np.stack(shown), min(_COLUMNS, count))
  return page.section(
      title, f'The first {count} of them.', page.picture(grid, title)
  )


def _left_out(found: Mapping[str, Any]) -> str:
  if not found['left_out']:
    return ''
  reasons = text.left_out(found).items()
  rows = [['metrics', 'why']]
  rows += [[', '.join(names), reason] for reason, names in reasons]
  return page.section('Left out', 'These metrics need more.', page.table(rows))


def _fingerprints(found: Mapping[str, Any]) -> str:
  lines = '\n'.join(
      html.escape(fingerprint.line(r['fingerprint'])) for r in found['results']
  )
  return page.section(
      'Fingerprints',
      'Results with the same fingerprint were computed in the same way.'
      ' results.json holds them in full.',
      f'<pre>{lines}</pre>',
  )
