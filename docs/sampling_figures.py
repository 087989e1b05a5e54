r"""Measures how guidance and selection among draws change the digits.

  python docs/sampling_figures.py --run=runs/quickstart --out=docs/images

Restores two checkpoints of the run that `bash launch/quickstart.sh` made: the
last one and the one half-way. Prints the tables of docs/results.md and writes
guidance_curve.svg. Takes about four minutes on two CPU cores.

Every row is measured on 1000 digits, 100 per class, from key 0. At guidance 1
and the last step, these are the digits of the quickstart with seed 0.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import sys
from typing import Any

from absl import flags
from etils import epath
import jax
import numpy as np
import tqdm

import rq_jax
from rq_jax.cli import command
from rq_jax.data.sources import digits as digits_source
from rq_jax.jobs.quickstart import digits
from rq_jax.reports import charts
from rq_jax.reports import numerals

# Half-way through the training of the quickstart, and its end.
_STEPS = (325, 650)
_COUNT, _CHUNK = 1000, 100
_SCALES = (0, 0.5, 1, 1.5, 2, 3, 4)
_FIGURES = (
    'class_accuracy',
    'diversity_mean',
    'diversity_min',
    'novelty',
    'trained_on_generated',
)

Split = tuple[np.ndarray, np.ndarray]


def judges(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
  """Two classifiers, trained on disjoint halves of the digits."""
  return tuple(
      digits.train_classifier(images[i::2], labels[i::2]) for i in range(2)
  )


def score(judge: Any, labels: np.ndarray) -> Callable[[Any], np.ndarray]:
  """Function from images to the classifier's scores of the labels: float[B]."""

  def of_images(images):
    values = judge.decision_function(digits.downsample(np.asarray(images)))
    return values[np.arange(len(labels)), labels]

  return of_images


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  """Formats a Markdown table; floats get three decimals."""
  texts = [
      [f'{v:.3f}' if isinstance(v, float) else str(v) for v in row]
      for row in rows
  ]
  lines = [heads, ['---'] * len(heads), *texts]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def by_guidance(
    samplers: Mapping[str, rq_jax.Sampler], train: Split, test: Split
) -> dict[str, dict[float, dict[str, float]]]:
  """Figures of the quickstart, by sampler, guidance scale and name."""
  labels = np.arange(_COUNT) % 10
  found = {name: {} for name in samplers}
  total = _COUNT * len(samplers) * len(_SCALES)
  with tqdm.tqdm(total=total, unit='image', desc='guidance') as bar:
    for name, sampler in samplers.items():
      for scale in _SCALES:
        chunks = []
        for start in range(0, _COUNT, _CHUNK):
          drawn = sampler(
              jax.random.key(0),
              labels=labels[start : start + _CHUNK],
              first_index=start,
              sampling=rq_jax.Sampling(guidance=scale),
          )
          chunks.append(np.asarray(drawn))
          bar.update(_CHUNK)
        images = np.concatenate(chunks)
        found[name][scale] = digits.figures(images, labels, *train, *test)
  return found


def by_choice(
    sampler: rq_jax.Sampler, train: Split, test: Split
) -> list[tuple[Any, ...]]:
  """Figures of each way to select among draws, one row per way.

  Returns:
    Rows of: name; number of digits drawn; class accuracy by the selecting
    classifier and by the independent one; mean diversity; accuracy on held-out
    digits of a classifier trained only on the selected digits. The last row has
    both classifiers' accuracies on held-out digits.
  """
  labels = np.arange(_COUNT) % 10
  both = judges(*train)
  key, by_first = jax.random.key(0), score(both[0], labels)
  ways = {
      **{
          f'best of {n}': (n, functools.partial(sampler.best_of, n=n))
          for n in (1, 2, 4, 16)
      },
      'best 25 % of a class': (
          4,
          functools.partial(sampler.rejection_sample, acceptance_rate=0.25),
      ),
  }
  rows = []
  for name, (times, choose) in tqdm.tqdm(ways.items(), desc='choice'):
    images = choose(key, score=by_first, labels=labels).images
    accuracies = [digits.accuracy(judge, images, labels) for judge in both]
    spread, _ = digits.diversity(images, labels, *train)
    pupil = digits.train_classifier(images, labels)
    taught = digits.accuracy(pupil, *test)
    rows.append((name, times * _COUNT, *accuracies, spread, taught))
  accuracies = [digits.accuracy(judge, *test) for judge in both]
  return [*rows, ('held-out digits', '', *accuracies, '', '')]


def _split(split: str) -> Split:
  examples = list(digits_source.Digits(split))
  return (
      np.stack([example['image'] for example in examples]),
      np.stack([example['label'] for example in examples]),
  )


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  command.define_path(
      'run', 'runs/quickstart', 'Folder of the quickstart run.', values
  )
  command.define_path('out', 'docs/images', 'Folder for the chart.', values)
  return values


def _measure(values: flags.FlagValues) -> None:
  workdir = str(epath.Path(values.run) / 'rqtransformer')
  samplers = {
      f'step {step}': rq_jax.Sampler.restore(workdir, step=step)
      for step in _STEPS
  }
  train, test = _split('train'), _split('test')
  found = by_guidance(samplers, train, test)
  heads = [name.replace('_', ' ') for name in _FIGURES]
  rows = [
      [name, numerals.number(scale), *(figures[key] for key in _FIGURES)]
      for name, scales in found.items()
      for scale, figures in scales.items()
  ]
  print(table(['checkpoint', 'guidance', *heads], rows))
  # Omit guidance 0: its class accuracy is far below all others.
  curves = {
      title: {
          name: [(s, f[key]) for s, f in scales.items() if s > 0]
          for name, scales in found.items()
      }
      for title, key in (
          ('Class accuracy', 'class_accuracy'),
          ('Diversity', 'diversity_mean'),
      )
  }
  path = epath.Path(values.out) / 'guidance_curve.svg'
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(charts.panels(curves, 'guidance'))
  heads = ['kept', 'drawn', 'accuracy, selecting classifier']
  heads += ['accuracy, independent classifier', 'diversity, mean']
  heads += ['trained on generated']
  last = samplers[f'step {_STEPS[-1]}']
  print(table(heads, by_choice(last, train, test)))


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _measure))
