r"""Prints the figures of docs/own_images.md for two finished runs.

  python docs/own_images_figures.py --rqvae=runs/mine/rqvae \
      --rqtransformer=runs/mine/rqtransformer

A classifier (an SVM) is trained only on the real training images. Class
accuracy is the share of the generated images that it recognises as the
requested class. Images are drawn at temperature 1 without filters or guidance.
"""

from collections.abc import Callable
import sys
from typing import Any

from absl import flags
import numpy as np

import rq_jax
from rq_jax.checkpoints import stored
from rq_jax.cli import command
from rq_jax.data import sources
from rq_jax.data import transforms
from rq_jax.jobs.sample import conditions
from rq_jax.jobs.sample import drawing
from rq_jax.training import metrics

Split = tuple[np.ndarray, np.ndarray]
_KINDS = ('photographs', 'shapes')


def of_photograph(images: np.ndarray) -> np.ndarray:
  """Colors and textures: uint8[N, S, S, 3] -> float64[N, F].

  They are means and deviations on a grid of 4x4, histograms of the channels,
  and mean differences of neighboring pixels.
  """
  pixels, count = images / 255.0, len(images)
  side = images.shape[1] // 4
  blocks = pixels.reshape(count, 4, side, 4, side, 3)
  bins = np.minimum(images // 32, 7)
  histograms = [
      (bins == value).mean(axis=(1, 2)) for value in range(8)
  ]  # Each [N, 3].
  parts = [
      blocks.mean(axis=(2, 4)).reshape(count, -1),
      blocks.std(axis=(2, 4)).reshape(count, -1),
      2 * np.concatenate(histograms, axis=1),
      pixels.mean(axis=(1, 2)),
      pixels.std(axis=(1, 2)),
      4 * np.abs(np.diff(pixels, axis=1)).mean(axis=(1, 2)),
      4 * np.abs(np.diff(pixels, axis=2)).mean(axis=(1, 2)),
  ]
  return np.concatenate(parts, axis=1)


def of_shape(images: np.ndarray) -> np.ndarray:
  """Brightness of 16x16 areas, from 0 to 1 in every image: -> float64[N, 256].

  Digits and letters are recognised by their shape, whatever their color.
  """
  count, side = len(images), images.shape[1] // 16
  grey = images.mean(axis=3).reshape(count, 16, side, 16, side)
  grey = grey.mean(axis=(2, 4)).reshape(count, -1)
  low = grey.min(axis=1, keepdims=True)
  return (grey - low) / np.maximum(grey.max(axis=1, keepdims=True) - low, 1)


def train_judge(kind: str, images: np.ndarray, labels: np.ndarray) -> Callable:
  """Trains a classifier; returns a function from images to labels."""
  from sklearn import pipeline
  from sklearn import preprocessing
  from sklearn import svm

  describe = of_photograph if kind == 'photographs' else of_shape
  scale = [preprocessing.StandardScaler()] if kind == 'photographs' else []
  judge = pipeline.make_pipeline(*scale, svm.SVC(C=10.0))
  mirrored = images[:, :, ::-1]
  if kind == 'photographs':  # A mirrored photograph is of the same class.
    images, labels = np.concatenate([images, mirrored]), np.tile(labels, 2)
  judge.fit(describe(images), labels)
  return lambda images: judge.predict(describe(images))


def read_split(rqvae: str, split: str) -> Split:
  """Images, uint8[N, S, S, 3], and labels of the data of a run of stage 1."""
  data = stored.read_config(rqvae, stage=1).data
  source = sources.open_source(data, split)
  examples = [source[i] for i in range(len(source))]
  images = [
      transforms.evaluate(example['image'], image_size=data.image_size)
      for example in examples
  ]
  pixels = np.round((np.stack(images) + 1) * 127.5).astype(np.uint8)
  return pixels, np.stack([example['label'] for example in examples])


def draw(rqtransformer: str, per_class: int) -> Split:
  """Images of each class, drawn with seed 0, and the requested labels."""
  sampler = rq_jax.Sampler.restore(rqtransformer)
  count = per_class * sampler.prior.num_classes
  chosen = conditions.choose(sampler.prior, num_images=count)
  made = drawing.Drawing(sampler=sampler, conditions=chosen, seed=0)
  return made.images(), chosen.rows(0, count)['labels']


def reconstruction(rqvae: str) -> dict[str, float]:
  """The newest held-out metrics of a run of stage 1."""
  lines = metrics.read_metrics(rqvae)
  last = [line for line in lines if 'eval/mse' in line][-1]
  return {name: last[name] for name in sorted(last) if name.startswith('eval')}


def figures(
    kind: str, rqvae: str, rqtransformer: str, per_class: int
) -> dict[str, Any]:
  """Accuracies of the classifier on held-out and on generated images."""
  judge = train_judge(kind, *read_split(rqvae, 'train'))
  found = {}
  for name, (images, labels) in {
      'held-out': read_split(rqvae, 'test'),
      'generated': draw(rqtransformer, per_class),
  }.items():
    right = judge(images) == labels
    found[f'accuracy, {name}'] = float(right.mean())
    found[f'accuracy by class, {name}'] = [
        round(float(right[labels == label].mean()), 3)
        for label in np.unique(labels)
    ]
  return found


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  for stage in ('rqvae', 'rqtransformer'):
    path = f'runs/mine/{stage}'
    command.define_path(stage, path, f'Workdir of the {stage}.', values)
  flags.DEFINE_enum(
      'kind', 'photographs', _KINDS,
      'What the classifier looks at: colors and textures, or shapes.',
      flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
      'per_class', 200, 'Images to draw of each class.', flag_values=values
  )
  return values


def _measure(values: flags.FlagValues) -> None:
  found = reconstruction(values.rqvae) | figures(
      values.kind, values.rqvae, values.rqtransformer, values.per_class
  )
  for name, value in found.items():
    print(f'{name:32}{value if isinstance(value, list) else f"{value:.4g}"}')


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _measure))
