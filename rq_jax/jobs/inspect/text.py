"""The reports as text, for terminals of 80 columns."""

from collections.abc import Iterable, Iterator, Mapping
import textwrap
from typing import Any

from rq_jax.jobs.inspect import tables
from rq_jax.reports import columns

_LISTED = 10  # Broken images and groups of duplicates.
_LONGEST_BAR = 30


def of_data(found: Mapping[str, Any]) -> str:
  """The report of a dataset.

  Args:
    found: The figures of `data.describe`, and the keys that `job` adds.
  """
  lines = [f'{found["path"]} ({found["source"]})']
  lines += columns.aligned(tables.splits(found), left=1)
  if len(found['classes']) > 1:
    lines += ['', f'{len(found["classes"]):,} classes']
    lines += columns.aligned(tables.classes(found), left=1)
  lines += ['', 'Images']
  lines += columns.aligned(tables.kinds(found), left=1)
  for title, counts in (
      ('Width x height', tables.common_sizes(found)),
      ('Short side in pixels', found['sizes']['short_side']),
      ('Long side over short side', found['sizes']['shapes']),
  ):
    lines += ['', title, *_bars(counts)]
  lines += ['', 'Share of the images that are smaller than an image size']
  lines += columns.aligned(tables.enlarged(found), left=1)
  lines += _listed(
      'Images that cannot be read', (b['reason'] for b in found['broken'])
  )
  for key, title in (
      ('duplicates', 'Groups of exact copies'),
      ('similar', 'Groups that look nearly the same'),
  ):
    groups = found[key]['groups']
    lines += _listed(title, (' = '.join(map(_place, g[:4])) for g in groups))
  lines += _warnings(found)
  lines += ['', f'Suggested image size: {found["suggested_size"]}.']
  lines += _wrapped(found['reason'])
  return '\n'.join(lines)


def of_tokenizer(found: Mapping[str, Any]) -> str:
  """The report of an RQ-VAE; `found` is what `job` collects."""
  splits = found['splits']
  codes = ' x '.join(map(str, found['code_shape']))
  lines = [
      f'{found["tokenizer"]}: codes {codes},'
      f' {found["used"]:.0%} of {found["codewords"]:,} codewords used',
      f'{splits["train"]["images"]:,} training and'
      f' {splits["test"]["images"]:,} held-out images of {found["path"]}',
      '',
      'Reconstruction and codebook by number of codes',
      *columns.aligned(tables.depths(found), left=1),
      '  PSNR: of held-out images (test) and training images\n'
      '  error: of the quantization, divided by the variance of the features\n'
      '  used: share of the codewords that training images use',
      '',
      'Features',
      *columns.aligned(tables.features(splits['train']['features']), left=1),
      '',
      'Perplexity of the soft targets (1: one-hot, codebook size: uniform)',
      *columns.aligned(tables.temperatures(found), left=2),
  ]
  lines += _warnings(found)
  suggested = found['temperature']['suggested']
  lines += ['', f'Suggested temperature of stage 2: {suggested:.3g}']
  return '\n'.join(lines)


def _bars(counts: Mapping[str, int]) -> Iterable[str]:
  largest = max(*counts.values(), 1)
  rows = [(name, f'{count:,}') for name, count in counts.items()]
  for line, count in zip(columns.aligned(rows, left=1), counts.values()):
    yield f'{line}  {"#" * round(_LONGEST_BAR * count / largest)}'.rstrip()


def _listed(title: str, texts: Iterable[str]) -> Iterator[str]:
  found = list(texts)
  if not found:
    return
  yield from ('', f'{title}: {len(found):,}')
  for text in found[:_LISTED]:
    yield f'  {text}'
  if len(found) > _LISTED:
    yield f'  and {len(found) - _LISTED:,} more; report.json lists all'


def _warnings(found: Mapping[str, Any]) -> Iterator[str]:
  if found['warnings']:
    yield ''
  for sentence in found['warnings']:
    yield from _wrapped(f'Warning: {sentence}', indent='  ')


def _wrapped(text: str, indent: str = '') -> list[str]:
  """Lines of text; all but the first one are indented."""
  return textwrap.wrap(
      text, 80, subsequent_indent=indent, break_on_hyphens=False
  )


def _place(image: Mapping[str, Any]) -> str:
  return f'{image["name"]} ({image["split"]})'
