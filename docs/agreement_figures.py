r"""Do guidance and rejection raise the agreement of a classifier?

  python docs/agreement_figures.py --rqvae=runs/mine/rqvae \
      --rqtransformer=runs/mine/rqtransformer --classifier=checkpoints/lite0

The generator is that of docs/own_images.md. The classifier was trained on
ImageNet and knows nothing of it. Which of its classes belong to a class of the
generator is measured on reconstructions of training images, which are as soft
as generated ones: those that it finds more probable for this class than for all
others. Agreement is the share of the generated images whose requested class
gets the largest probability. It is printed for reconstructions of held-out
images, for plain draws, with guidance, and for the draws that
`Sampler.rejection_sample` accepts.
"""

import json
import sys

from absl import flags
from etils import epath
import jax
import numpy as np
import own_images_figures

import rq_jax
from rq_jax import sampling
from rq_jax.cli import command
from rq_jax.evaluation import class_scores
from rq_jax.evaluation import classifiers
from rq_jax.jobs.sample import conditions
from rq_jax.jobs.sample import drawing


def own_classes(logits: np.ndarray, labels: np.ndarray) -> list[list[int]]:
  """The classifier's classes of each label, from real images.

  Args:
    logits: Logits of real images, float[N, K].
    labels: Their labels, int[N].
  """
  shifted = logits - logits.max(axis=1, keepdims=True)
  p = np.exp(shifted)
  p /= p.sum(axis=1, keepdims=True)
  means = np.stack([p[labels == c].mean(axis=0) for c in np.unique(labels)])
  best = means.argmax(axis=0)
  return [np.flatnonzero(best == c).tolist() for c in range(len(means))]


def agreement(logits: np.ndarray, labels: np.ndarray, classes) -> float:
  """Share of images whose own label has the largest probability."""
  scores = np.stack(
      [
          class_scores.log_probabilities(logits, [numbers] * len(logits))
          for numbers in classes
      ],
      axis=1,
  )
  return float((scores.argmax(axis=1) == labels).mean())


def logits_of(classifier: classifiers.Classifier, images: np.ndarray):
  """Logits of images, float32[N, K]."""
  parts = [images[i : i + 64] for i in range(0, len(images), 64)]
  return np.concatenate([classifier(part)['logits'] for part in parts])


def draw(sampler, options: sampling.Sampling, per_class: int):
  """Images of each class, and their labels."""
  count = per_class * sampler.prior.num_classes
  chosen = conditions.choose(sampler.prior, num_images=count)
  made = drawing.Drawing(sampler=sampler, conditions=chosen, sampling=options)
  return made.images(), chosen.rows(0, count)['labels']


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  for stage in ('rqvae', 'rqtransformer'):
    path = f'runs/mine/{stage}'
    command.define_path(stage, path, f'Workdir of the {stage}.', values)
  command.define_path('classifier', 'checkpoints/lite0', 'Classifier.', values)
  command.define_path('out', 'classes.json', 'File for the classes.', values)
  flags.DEFINE_integer(
      'per_class', 100, 'Images to draw of each class.', flag_values=values
  )
  flags.DEFINE_integer(
      'images', 600, 'Training images to measure classes on.',
      flag_values=values,
  )  # fmt: skip
  flags.DEFINE_float('guidance', 2.0, 'Guidance scale.', flag_values=values)
  flags.DEFINE_float('rate', 0.25, 'Share to accept.', flag_values=values)
  return values


def _measure(values: flags.FlagValues) -> None:
  classifier = classifiers.restore(values.classifier)
  tokenizer = rq_jax.Tokenizer.restore(values.rqvae)

  def reconstructed(split: str, count: int):
    images, labels = own_images_figures.read_split(values.rqvae, split)
    rows = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    codes = tokenizer.encode(images[rows])
    return np.asarray(tokenizer.decode(codes)), labels[rows]

  images, labels = reconstructed('train', values.images)
  classes = own_classes(logits_of(classifier, images), labels)
  epath.Path(values.out).write_text(
      json.dumps({str(c): numbers for c, numbers in enumerate(classes)})
  )
  sampler = rq_jax.Sampler.restore(values.rqtransformer)

  def show(name: str, images: np.ndarray, labels: np.ndarray) -> None:
    found = agreement(logits_of(classifier, images), labels, classes)
    print(f'{name}: {found:.3f}', flush=True)

  show('held-out, reconstructed', *reconstructed('test', values.images))
  show('plain', *draw(sampler, sampling.Sampling(), values.per_class))
  guided = sampling.Sampling(guidance=values.guidance)
  show(
      f'guidance {values.guidance:g}', *draw(sampler, guided, values.per_class)
  )

  asked = np.repeat(np.arange(sampler.prior.num_classes), values.per_class)

  def score(images) -> np.ndarray:
    rows = [classes[label] for label in asked]
    logits = logits_of(classifier, np.asarray(images))
    return class_scores.log_probabilities(logits, rows)

  key = jax.random.key(0)
  kept = sampler.rejection_sample(key, values.rate, score, labels=asked)
  show(f'rejection {values.rate:g}', kept.images, asked)


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _measure))
