"""The results as a page with charts and images."""

from collections.abc import Mapping, Sequence
import html
from typing import Any

from etils import epath
import numpy as np

from rq_jax.data import transforms
from rq_jax.evaluation import fingerprint
from rq_jax.jobs.evaluate import distances
from rq_jax.jobs.evaluate import features
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import looking
from rq_jax.jobs.evaluate import text
from rq_jax.reports import charts
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
      _nearest(found, comparison),
      _classes(found, comparison),
      _grid('Samples', comparison.samples),
      _grid('Reference', comparison.reference),
      _left_out(found),
      _fingerprints(found),
  ]
  page.write(path, title, sections)


def _curves(found: Mapping[str, Any]) -> str:
  """Distances against the number of images, as charts and tables."""
  drawn, continued = '', ''
  for result in found['results']:
    if 'curve' not in result:
      continue
    curve, name = result['curve'], text.title(result)
    points = list(zip(curve['n'], curve['fid'], strict=True))
    cells = [['images', name]]
    cells += [[f'{n:,}', text.number(result, value)] for n, value in points]
    if curve['limit'] is not None:
      continued = ' The last row continues a straight line in 1/N.'
      cells.append(['infinitely many', text.number(result, curve['limit'])])
    chart = charts.line_chart(name, {name: points}, over='images')
    drawn += chart + page.table(cells)
  if not drawn:
    return ''
  return page.section(
      'Distances against the number of images',
      'The fewer images, the larger the distance. Compare only values of the'
      f' same number of images.{continued}',
      f'<div class="charts">{drawn}</div>',
  )


def _nearest(found: Mapping[str, Any], comparison: distances.Comparison) -> str:
  """Samples beside the reference images that are nearest to them."""
  if found['nearest'] is None or comparison.reference is None:
    return ''
  pairs = found['nearest']['pairs']
  columns = [
      _picked(comparison.samples, [pair['sample'] for pair in pairs]),
      _picked(comparison.reference, [pair['reference'] for pair in pairs]),
  ]
  # Both may have different sizes.
  columns[1] = [
      transforms.center(there, image_size=here.shape[:2])
      for here, there in zip(*columns)
  ]
  rows = ''.join(
      f'<p><b>{pair["distance"]:.4g}</b>{pair["sample"]:,} and'
      f' {pair["reference"]:,}</p>'
      + page.picture(
          pictures.grid(np.stack(both), 2),
          f'Sample {pair["sample"]} and reference {pair["reference"]}',
      )
      for pair, *both in zip(pairs, *columns)
  )
  return page.section(
      'Nearest reference images',
      f'Of the first {found["nearest"]["searched"]:,} samples, those nearest to'
      ' an image of the reference: the sample, then the reference, with their'
      f' distance in {html.escape(found["nearest"]["features"])}. Look for'
      ' copies.',
      f'<div class="strips">{rows}</div>',
  )


def _classes(found: Mapping[str, Any], comparison: distances.Comparison) -> str:
  """The best and the worst classes, with images of the first of both."""
  classes, images = found['classes'], comparison.samples.images
  if classes is None or images.labels is None:
    return ''
  cells = [['', 'class', classes['figure'], 'standard error', 'images']]
  strips = ''
  for which in ('best', 'worst'):
    for entry in classes[which]:
      name = looking.class_name(entry, images.class_names)
      figures = [f'{entry[key]:.4g}' for key in ('value', 'error')]
      cells.append([which, name, *figures, f'{entry["images"]:,}'])
    first = classes[which][0]
    members = np.flatnonzero(images.labels == first['class'])[:_COLUMNS]
    shown = _picked(comparison.samples, members.tolist())
    name = looking.class_name(first, images.class_names)
    strips += f'<p><b>{which}</b>{html.escape(name)}</p>'
    strips += page.picture(
        pictures.grid(np.stack(shown), len(shown)), f'Images of class {name}'
    )
  distinct = 'can' if classes['distinct'] else 'cannot'
  return page.section(
      'Best and worst classes',
      f'The best and the worst class {distinct} be told apart with these'
      f' numbers of images. {classes["left_out"]:,} classes have too few.',
      page.table(cells) + f'<div class="strips">{strips}</div>',
  )


def _picked(part: features.Part, indices: Sequence[int]) -> list[np.ndarray]:
  """Some images of a part, uint8[Y, X, 3] each."""
  return image_sets.pick(part.images, indices, part.chunk_size)


def _grid(title: str, part: Any) -> str:
  if part is None:
    return ''
  count = min(_SHOWN, len(part.images))
  shown = _picked(part, range(count))
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
