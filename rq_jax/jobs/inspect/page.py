"""The reports as pages with pictures and charts."""

from collections.abc import Mapping, Sequence
import html
from typing import Any

from etils import epath
import numpy as np

from rq_jax.jobs.inspect import tables
from rq_jax.reports import bars
from rq_jax.reports import charts
from rq_jax.reports import depths
from rq_jax.reports import page
from rq_jax.reports import pictures as pictures_lib

_LISTED = 50  # Broken images.
_CHARTED = 20  # Classes.


def write_data(
    path: epath.PathLike,
    found: Mapping[str, Any],
    classes: Mapping[str, np.ndarray],
    copies: Mapping[str, np.ndarray],
) -> None:
  """Writes the report of a dataset as one self-contained page.

  Args:
    path: File to write.
    found: The figures of `data.describe`, and the keys that `job` adds.
    classes: Images of some classes by name, uint8[n, H, W, 3].
    copies: Images that are equal or similar, by the names of their files.
  """
  title = f'Images of {found["path"]}'
  sizes = found['sizes']
  bar_charts = [
      bars.chart('Width x height', tables.common_sizes(found)),
      bars.chart('Short side in pixels', sizes['short_side']),
      bars.chart('Long side over short side', sizes['shapes']),
      _class_chart(found['classes']),
  ]
  sections = [
      _headline(title, _lead_of_data(found)),
      _warnings(found),
      _next_step(
          f'Train at {found["suggested_size"]} pixels. {found["reason"]}',
          found,
          page.table(tables.enlarged(found)),
      ),
      _strips(
          'Images to train on',
          'Evenly spaced images of each class, cropped as in evaluation.',
          classes,
      ),
      page.section(
          'Sizes and classes',
          'Images are resized and cropped to the image size of the model.',
          f'<div class="charts">{"".join(bar_charts)}</div>',
      ),
      page.section(
          'Numbers',
          'Grey images have equal red, green and blue. Copies have the same'
          ' size and pixels.',
          page.table(tables.splits(found)) + page.table(tables.kinds(found)),
      ),
      _strips(
          'Copies',
          'Images that are exactly or nearly the same, and their files.',
          copies,
      ),
      _broken(found),
  ]
  page.write(path, title, sections)


def write_tokenizer(
    path: epath.PathLike,
    found: Mapping[str, Any],
    by_depth: np.ndarray,
    code_counts: np.ndarray,
) -> None:
  """Writes the report of an RQ-VAE as one self-contained page.

  Args:
    path: File to write.
    found: What `job` collects.
    by_depth: Held-out images by depth; see `depths.strips`.
    code_counts: How often each code was used at any depth, int[K].
  """
  title = f'RQ-VAE of {found["tokenizer"]}'
  psnr = found['splits']['test']['psnr']
  suggested = f'{found["temperature"]["suggested"]:.3g}'
  sections = [
      _headline(title, _lead_of_tokenizer(found)),
      _warnings(found),
      page.section(
          'Reconstructions by depth',
          f'Held-out images, {depths.LEGEND} The PSNR is that of all held-out'
          ' images that were inspected.',
          depths.strips(by_depth, psnr),
      ),
      page.section(
          'Reconstruction and codebook by number of codes',
          'The split test holds the held-out images. The error is that of the'
          ' quantization, divided by the variance of the features. The last two'
          ' columns are about the training images.',
          page.table(tables.depths(found)),
      ),
      page.section(
          'Temperature of the soft targets',
          f'Suggested: {suggested}. A perplexity of 1 means one-hot targets;'
          ' the number of codewords means uniform ones.',
          page.table(tables.temperatures(found)),
      ),
      _codebook(found, code_counts),
      _features(found['splits']['train']['features']),
      _next_step(
          'Encode the images, then train stage 2 with the temperature above.',
          found,
      ),
  ]
  page.write(path, title, sections)


def _next_step(text: str, found: Mapping[str, Any], below: str = '') -> str:
  """The commands that follow, below some text and above some HTML."""
  commands = f'<pre>{html.escape(found["next"])}</pre>'
  return page.section('Next step', html.escape(text), commands + below)


def _codebook(found: Mapping[str, Any], code_counts: np.ndarray) -> str:
  return page.section(
      'Codebook',
      f'{found["used"]:.0%} of {found["codewords"]:,} codewords are in use.'
      ' Each bar is one code, the most used first. The dashed line is equal use'
      ' of all codes.',
      charts.frequency_strip(code_counts.tolist()),
  )


def _features(features: Mapping[str, Any]) -> str:
  counts = tables.histogram(features['histogram'])
  return page.section(
      'Features',
      'The cache stores them as float16, whose largest number is 65,504.',
      page.table(tables.features(features))
      + bars.chart('Values of features', counts),
  )


def _headline(title: str, lead: str) -> str:
  return (
      f'<header><h1>{html.escape(title)}</h1>'
      f'<p class="lead">{html.escape(lead)}</p></header>'
  )


def _lead_of_data(found: Mapping[str, Any]) -> str:
  train, test = found['splits']['train'], found['splits']['test']
  lead = f'{train["images"]:,} training and {test["images"]:,} held-out images'
  if (number := len(found['classes'])) > 1:
    lead += f' of {number:,} classes'
  inspected = train['read'] + test['read']
  if inspected < train['images'] + test['images']:
    lead += f'; {inspected:,} evenly spaced ones were inspected'
  return f'{lead}.'


def _lead_of_tokenizer(found: Mapping[str, Any]) -> str:
  splits = found['splits']
  return (
      f'Measured on {splits["train"]["images"]:,} training and'
      f' {splits["test"]["images"]:,} held-out images of {found["path"]}.'
  )


def _class_chart(classes: Sequence[Mapping[str, Any]]) -> str:
  if len(classes) < 2:
    return ''
  counts = {c['name']: c['train'] for c in classes[:_CHARTED]}
  note = f'the first {_CHARTED}' if len(classes) > _CHARTED else ''
  return bars.chart('Training images per class', counts, note=note)


def _warnings(found: Mapping[str, Any]) -> str:
  if not found['warnings']:
    return ''
  return page.section(
      'Warnings', 'Look at these first.', page.warnings(found['warnings'])
  )


def _strips(title: str, words: str, images: Mapping[str, np.ndarray]) -> str:
  """Rows of images with their names."""
  if not images:
    return ''
  rows = ''.join(
      f'<p><b>{html.escape(name)}</b></p>'
      + page.picture(pictures_lib.grid(strip, columns=len(strip)), name)
      for name, strip in images.items()
  )
  return page.section(title, words, f'<div class="strips">{rows}</div>')


def _broken(found: Mapping[str, Any]) -> str:
  reasons = [broken['reason'] for broken in found['broken']]
  if not reasons:
    return ''
  rest = ''
  if len(reasons) > _LISTED:
    rest = f' The first {_LISTED}; report.json lists all.'
  return page.section(
      f'{len(reasons):,} images cannot be read',
      'Training stops at the first of them. With'
      f' --config.data.on_error=skip, it replaces them.{rest}',
      page.warnings(reasons[:_LISTED]),
  )
