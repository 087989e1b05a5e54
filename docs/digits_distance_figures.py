r"""Frechet distances of digits in the features of a small classifier.

  python docs/digits_distance_figures.py --rqvae=runs/quickstart/rqvae \
      --rqtransformer=runs/quickstart/rqtransformer

Does a Frechet distance put sets of digits in the right order? The sets are real
held-out digits, digits that the finished model draws, and digits that it drew
halfway through its training. All sets have as many digits of each class as the
held-out digits; the reference is the training digits. The features are the
hidden units of a network that was trained to classify the training digits. Each
row uses another seed, for the network and for the draws. Of generated digits,
it shows the mean and the deviation of --draws sets.
"""

import sys

from absl import flags
import numpy as np
import own_images_figures

import rq_jax
from rq_jax.cli import command
from rq_jax.evaluation import frechet
from rq_jax.jobs.quickstart import digits
from rq_jax.jobs.sample import conditions
from rq_jax.jobs.sample import drawing


def train_features(images: np.ndarray, labels: np.ndarray, seed: int):
  """Trains a network with one hidden layer of 64 units.

  Returns:
    A function from digits, uint8[N, 32, 32, 3], to features, float64[N, 64].
  """
  from sklearn import neural_network

  network = neural_network.MLPClassifier(
      (64,), alpha=1e-2, max_iter=400, random_state=seed
  )
  network.fit(digits.downsample(images), labels)
  weights, biases = network.coefs_[0], network.intercepts_[0]

  def features(images: np.ndarray) -> np.ndarray:
    return np.maximum(digits.downsample(images) @ weights + biases, 0)

  return features


def draw(path: str, step: int | None, labels: np.ndarray, seed: int, sets: int):
  """Sets of digits of some classes, drawn at a step of training."""
  sampler = rq_jax.Sampler.restore(path, step=step, verbose=False)
  chosen = conditions.choose(
      sampler.prior, kind='labels', values=labels, num_images=sets * len(labels)
  )
  made = drawing.Drawing(sampler=sampler, conditions=chosen, seed=seed)
  return np.split(made.images(), sets)


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  for stage in ('rqvae', 'rqtransformer'):
    path = f'runs/quickstart/{stage}'
    command.define_path(stage, path, f'Workdir of the {stage}.', values)
  flags.DEFINE_integer('step', 325, 'The earlier step.', flag_values=values)
  flags.DEFINE_integer('seeds', 3, 'Number of seeds.', flag_values=values)
  flags.DEFINE_integer(
      'draws', 10, 'Sets to draw for each seed.', flag_values=values
  )
  return values


def _measure(values: flags.FlagValues) -> None:
  images, labels = own_images_figures.read_split(values.rqvae, 'train')
  held_out, classes = own_images_figures.read_split(values.rqvae, 'test')
  for seed in range(values.seeds):
    features = train_features(images, labels, seed)
    sets = {'real, held-out': [held_out]}
    for name, step in (
        ('last step', None),
        (f'step {values.step}', values.step),
    ):
      sets[f'generated, {name}'] = draw(
          values.rqtransformer, step, classes, seed, values.draws
      )
    reference = features(images)
    for name, drawn in sets.items():
      found = [frechet.from_features(features(x), reference) for x in drawn]
      print(
          f'seed {seed}, {name}: {np.mean(found):.3f} +- {np.std(found):.3f}',
          flush=True,
      )


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _measure))
