"""The page that a quickstart leaves: its figures, pictures and curves."""

from collections.abc import Mapping, Sequence
import html
import shlex
from typing import Any

from etils import epath
import numpy as np

from rq_jax.jobs.quickstart import digits
from rq_jax.reports import charts
from rq_jax.reports import numerals
from rq_jax.reports import page

TITLE = 'Digits drawn by a model trained minutes ago'


def write_report(
    path: epath.PathLike,
    report: Mapping[str, Any],
    pictures: Mapping[str, np.ndarray],
    curves: Mapping[str, Mapping[str, charts.Curve]],
    code_counts: Sequence[int] | None = None,
) -> None:
  """Writes the report of a quickstart as one self-contained page.

  What is not given is left out of the page, except the figures that have a bar
  in `digits.BARS`: a missing one shows as not measured, and as missed.

  Args:
    path: File to write; commands on the page name its folder.
    report: `seed`, `seconds` (by phase, and `total`), the figures of
      `digits.BARS`, `settings` and `versions` (mappings of anything printable).
    pictures: Grids as of `pictures.grid`, uint8[h, w, 3]: `generated` with a
      column for each of the digits 0 to 9, `real`, and `reconstructions` with a
      row of originals and one row for each of `psnr_by_depth`.
    curves: Charts by title: (step, value) pairs by the name of the series.
    code_counts: How often each code was used, int[K].
  """
  path = epath.Path(path)
  sections = [
      _headline(report, pictures),
      _figures(report),
      _real(pictures),
      _reconstructions(report, pictures),
      _curves(curves),
      _codebook(report, code_counts),
      _seconds(report),
      _next_steps(path.parent),
      _conditions(report),
  ]
  page.write(path, TITLE, sections)


def _headline(report, pictures) -> str:
  met = list(digits.verdicts(report).values())
  tone = 'good' if all(met) else 'bad'
  words = f'{sum(met)} of {len(met)}'
  text = (
      f'<h1>{TITLE}</h1>'
      '<p class="lead">An RQ-VAE learnt to write a digit as a small map of'
      ' stacked codes; an RQ-Transformer learnt to write such maps itself. Each'
      ' column shows the digit that was asked for, as first drawn: nothing was'
      ' selected.</p>'
  ) + f'<span class="verdict"><b class="{tone}">{words}</b> bars met</span>'
  teaser = ''
  if 'generated' in pictures:
    columns = ''.join(f'<span>{digit}</span>' for digit in range(10))
    teaser = (
        f'<figure><div class="columns">{columns}</div>'
        + page.picture(
            pictures['generated'], 'Generated digits, a class a column'
        )
        + '</figure>'
    )
  return f'<header><div>{text}</div>{teaser}</header>'


def _figures(report) -> str:
  met = digits.verdicts(report)
  rows = []
  for key, bar in digits.BARS.items():
    mark = '&#10003; met' if met[key] else '&#10007; missed'
    tone = 'good' if met[key] else 'bad'
    value = _value(digits.measured(report, key), bar.unit)
    rows.append(
        f'<tr><th scope="row">{bar.title}<small>{bar.meaning}</small></th>'
        f'<td class="value">{value}</td><td class="bar">{_limits(bar)}</td>'
        f'<td class="{tone}">{mark}</td></tr>'
    )
  return page.section(
      'How good are they?',
      'Samples are drawn at temperature 1 from all codes, and none is left out.'
      ' Distances and classifiers work on 8&times;8 pixels, the resolution of'
      ' the original digits.',
      '<div class="card"><table class="figures"><thead><tr><th>Figure</th>'
      '<td>Measured</td><td>Bar</td><td></td></tr></thead><tbody>'
      + ''.join(rows)
      + '</tbody></table></div>',
  )


def _real(pictures) -> str:
  if 'real' not in pictures:
    return ''
  shown = page.picture(pictures['real'], 'Real digits')
  return page.section(
      'Real digits',
      'Written by people, 8&times;8 pixels each, from the collection inside'
      ' scikit-learn. Compare them with those above.',
      f'<div class="wide">{shown}</div>',
  )


def _reconstructions(report, pictures) -> str:
  if 'reconstructions' not in pictures:
    return ''
  labels = ['<span><b>original</b></span>']
  for depth, psnr in enumerate(report.get('psnr_by_depth', []), 1):
    labels.append(f'<span><b>depth {depth}</b>{psnr:.1f} dB</span>')
  return page.section(
      'Reconstructions by depth',
      'Digits that were held out of training, rebuilt from the first code of'
      ' every stack alone, then from two, three and four. The PSNR is that of'
      ' all held-out digits.',
      f'<div class="depths"><div>{"".join(labels)}</div>'
      + page.picture(
          pictures['reconstructions'], 'Originals, then depth by depth'
      )
      + '</div>',
  )


def _curves(curves) -> str:
  drawn = [charts.line_chart(title, series) for title, series in curves.items()]
  if not any(drawn):
    return ''
  return page.section(
      'Training',
      'Loss of both stages; the number beside a name is its last value.',
      f'<div class="charts">{"".join(drawn)}</div>',
  )


def _codebook(report, code_counts) -> str:
  if code_counts is None or not len(code_counts):
    return ''
  size, used = len(code_counts), int(np.count_nonzero(code_counts))
  share = report.get('codebook_perplexity')
  perplexity = ''
  if share is not None:
    perplexity = f' Their perplexity is {share * size:.0f}: as varied as that'
    perplexity += ' many codes used equally often.'
  return page.section(
      'Codebook',
      f'{used} of {size} codes are in use.{perplexity} One bar is one code, the'
      ' most used first; the dashed line is equal use.',
      charts.frequency_strip(code_counts),
  )


def _seconds(report) -> str:
  seconds = dict(report.get('seconds', {}))
  total = seconds.pop('total', sum(seconds.values()))
  rest = total - sum(seconds.values())
  if not total:
    return ''
  if rest >= 0.5:
    seconds['other'] = rest
  return page.section(
      'Where the time went',
      f'{numerals.duration(total)} in all.',
      charts.share_bar(seconds),
  )


def _next_steps(folder) -> str:
  out = shlex.quote(str(folder))
  commands = f"""\
source .venv/bin/activate

# Draw more: 100 threes and sevens
python -m rq_jax sample --checkpoint={out}/rqtransformer \\
    --num_images=100 --labels=3,7 --out=samples/

# Look at every curve and picture of the two trainings
tensorboard --logdir={out}

# The same with another seed
python -m rq_jax quickstart --seed=1 --out=runs/quickstart-1"""
  python = f"""\
import jax
import rq_jax

sampler = rq_jax.Sampler.restore({str(folder) + '/rqtransformer'!r})
images = sampler(jax.random.key(0), labels=[3, 7])  # uint8[2, 32, 32, 3]
codes = sampler.tokenizer.encode(images)            # int32[2, 4, 4, 4]"""
  return page.section(
      'Go on from here',
      'From the folder of the repository.',
      f'<pre>{html.escape(commands)}</pre><pre>{html.escape(python)}</pre>',
  )


def _conditions(report) -> str:
  """The seed, the settings and the versions that made these figures."""
  settings = {'seed': report['seed']} if 'seed' in report else {}
  settings |= report.get('settings', {})
  versions = report.get('versions', {})
  if not settings and not versions:
    return ''
  return page.section(
      'Settings and versions',
      'What made these figures.',
      page.notes({'Settings': settings, 'Versions': versions}),
  )


def _value(value: Any, unit: str) -> str:
  if value is None:
    return 'not measured'
  series = np.atleast_1d(value)
  digits_shown = 0 if series[-1] >= 100 else 1 if series[-1] >= 10 else 3
  shown = ' &middot; '.join(f'{v:.{digits_shown}f}' for v in series)
  return f'{shown}{unit}'


def _limits(bar: digits.Bar) -> str:
  """The limits of a bar in words: '0.85 to 1.15', 'at most 600 s'."""
  if bar.low is not None and bar.high is not None:
    words = f'{bar.low:g} to {bar.high:g}'
  elif bar.low is not None:
    words = f'at least {bar.low:g}'
  else:
    words = f'at most {bar.high:g}'
  return f'{"rising, " if bar.rising else ""}{words}{bar.unit}'
