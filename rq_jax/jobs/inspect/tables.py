"""The tables of both reports, as rows of text: for terminals and for pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from rq_jax.reports import numerals

Rows = Sequence[Sequence[str]]
_CLASSES = 20  # Classes that are listed.


def splits(found: Mapping[str, Any]) -> Rows:
  """Number of images of each split, from the figures of `data.describe`."""
  return [
      ('split', 'images', 'inspected', 'broken'),
      *(
          (name, *(f'{each[key]:,}' for key in ('images', 'read', 'broken')))
          for name, each in found['splits'].items()
      ),
  ]


def classes(found: Mapping[str, Any]) -> Rows:
  """Number of images of the first classes, by split."""
  names = list(found['splits'])
  rows = [('class', *names)]
  for each in found['classes'][:_CLASSES]:
    rows.append((each['name'], *(f'{each[name]:,}' for name in names)))
  if rest := found['classes'][_CLASSES:]:
    counts = (f'{sum(each[name] for each in rest):,}' for name in names)
    rows.append((f'{len(rest):,} more', *counts))
  return rows


def enlarged(found: Mapping[str, Any]) -> Rows:
  """Share of the images that would be enlarged at each image size."""
  shares = found['sizes']['enlarged']
  return [
      ('image size', *map(str, shares)),
      ('enlarged', *(f'{share:.1%}' for share in shares.values())),
  ]


def kinds(found: Mapping[str, Any]) -> Rows:
  """Properties of the images, and number of images with each."""
  unknown = 'unknown'
  sizes = found['sizes']
  rows = [
      ('property', 'value'),
      ('smallest, width x height', _size(*sizes['smallest'])),
      ('largest, width x height', _size(*sizes['largest'])),
      ('different sizes', f'{sizes["distinct"]:,}'),
      ('area outside the central square', f'{sizes["cropped_away"]:.0%}'),
      ('grey images', f'{found["grey"]:,}'),
  ]
  for key, name in (
      ('alpha', 'files with transparency'),
      ('rotated', 'files with a rotation (EXIF)'),
  ):
    rows.append((name, unknown if found[key] is None else f'{found[key]:,}'))
  for key, name in (
      ('duplicates', 'exact copies of another image'),
      ('similar', 'nearly the same as another image'),
  ):
    held_out = found[key]['held_out']
    across = f' ({held_out:,} across splits)' if held_out else ''
    rows.append((name, f'{found[key]["images"]:,}{across}'))
  for kind, count in found['ignored'].items():
    rows.append((f'ignored: {kind}', f'{count:,}'))
  return rows


def common_sizes(found: Mapping[str, Any]) -> dict[str, int]:
  """Number of images by size, the most common first; and of all others."""
  common = found['sizes']['common']
  counts = {_size(c['width'], c['height']): c['images'] for c in common}
  total = sum(found['sizes']['shapes'].values())
  if rest := total - sum(counts.values()):
    counts['others'] = rest
  return counts


def depths(found: Mapping[str, Any]) -> Rows:
  """Reconstruction and codebook use by depth, from `tokenizer`'s figures."""
  train, test = found['splits']['train'], found['splits']['test']
  return [
      (
          'codes',
          'PSNR test',
          'PSNR train',
          'error test',
          'error train',
          'used',
          'perplexity',
      ),
      *(
          (
              str(depth + 1),
              f'{test["psnr"][depth]:.2f} dB',
              f'{train["psnr"][depth]:.2f} dB',
              f'{test["quantization_error"][depth]:.3f}',
              f'{train["quantization_error"][depth]:.3f}',
              f'{train["used"][depth]:.0%}',
              f'{train["perplexity"][depth]:.1f}',
          )
          for depth in range(len(test['psnr']))
      ),
  ]


def features(figures: Mapping[str, Any]) -> Rows:
  """Scale of the features, from the figures of `Features`."""
  error = figures['float16_error']
  return [
      ('property', 'value'),
      ('mean', numerals.number(figures['mean'])),
      ('root mean square', numerals.number(figures['rms'])),
      ('variance, summed over channels', numerals.number(figures['variance'])),
      ('smallest', numerals.number(figures['smallest'])),
      ('largest', numerals.number(figures['largest'])),
      (
          'error of float16 / variance',
          'overflow' if error is None else f'{error:.1e}',
      ),
  ]


def histogram(found: Mapping[str, Any]) -> dict[str, int]:
  """Counts of the values of features, by the bounds of their bin."""
  edges, counts = found['edges'], found['counts']
  # Rounding hides that the middle edge is not exactly 0.
  names = [f'{round(edge, 9):.2g}' for edge in edges]
  return {f'{a} to {b}': n for a, b, n in zip(names, names[1:], counts)}


def temperatures(found: Mapping[str, Any]) -> Rows:
  """Perplexity of the soft targets by depth, for each temperature."""
  temperature = found['temperature']
  number = len(temperature['codewords'])
  return [
      ('temperature', '', *(f'depth {d + 1}' for d in range(number))),
      *(
          (
              f'{each["temperature"]:.3g}',
              'suggested'
              if each['multiple'] == 1
              else f'x {each["multiple"]:g}',
              *(f'{p:.1f}' for p in each['by_depth']),
          )
          for each in temperature['perplexity']
      ),
  ]


def _size(width: int, height: int) -> str:
  return f'{width} x {height}'
