r"""What int8 weights change in drawn digits.

  bash launch/quickstart.sh
  PYTHONPATH=. JAX_PLATFORMS=cpu python docs/int8_figures.py runs/quickstart

For each depth, it prints how far the distributions of codes move: the mean
Kullback-Leibler divergence KL(float || int8) over the codes of the held-out
digits, given the true codes before each; and how often the most likely code
stays the same. Then it draws 100 digits of each class with both kinds of
weights and the same random numbers, and prints how many codes are the same and
how many digits a classifier recognises. It takes about a minute.
"""

import dataclasses
import pathlib
import sys

import jax
import numpy as np

from rq_jax import sampling
from rq_jax.config import sections
from rq_jax.data import sources
from rq_jax.jobs.benchmark import precision
from rq_jax.jobs.quickstart import digits
from rq_jax.sampling import programs
from rq_jax.sampling import requests

_DATA = sections.Data(source='digits', image_size=32)
_PER_CLASS, _BATCH = 100, 100


def _split(name: str) -> tuple[np.ndarray, np.ndarray]:
  source = sources.open_source(_DATA, name)
  examples = [source[i] for i in range(len(source))]
  return tuple(
      np.stack([e[key] for e in examples]) for key in ('image', 'label')
  )


def _logits(sampler, codes: np.ndarray, labels: np.ndarray) -> jax.Array:
  """Logits of given codes in the decode loop: float32[B, H, W, D, K]."""
  prior, count = sampler.prior, len(codes)
  shape = count, prior.positions, prior.depth
  request = requests.make(
      prior, labels[:, None].astype(np.int32), sampling.Sampling()
  ).replace(given=codes.reshape(shape), keep=np.ones(shape, bool))
  numbers = np.zeros(shape, np.float32)
  weights = sampler.engine.weights
  _, logits = programs.draw_maps(
      prior, weights, request, numbers, keep_logits=True
  )
  return logits


def main() -> None:
  """Prints both tables."""
  run = pathlib.Path(sys.argv[1]) / 'rqtransformer'
  exact = sampling.Sampler.restore(str(run), verbose=False)
  rounded = dataclasses.replace(exact, weights='int8')
  images, labels = _split('test')
  codes = np.asarray(exact.tokenizer.encode(images))
  divergence, changed = precision.differences(
      *(_logits(sampler, codes, labels) for sampler in (exact, rounded))
  )
  print('| depth | KL, nats per code | same most likely code |\n|---|---|---|')
  for d, (nats, share) in enumerate(zip(divergence, changed, strict=True)):
    print(f'| {d + 1} | {nats:.1e} | {1 - share:.2%} |')

  wanted = np.repeat(np.arange(10), _PER_CLASS)
  judge = digits.train_classifier(*_split('train'))
  drawn = []
  print('\n| weights | digits recognised |\n|---|---|')
  for name, sampler in (('float', exact), ('int8', rounded)):
    parts = [
        sampler.codes(
            jax.random.key(0), labels=wanted[i : i + _BATCH], first_index=i
        )
        for i in range(0, len(wanted), _BATCH)
    ]
    drawn.append(np.concatenate(parts))
    found = np.asarray(sampler.tokenizer.decode(drawn[-1]))
    print(f'| {name} | {digits.accuracy(judge, found, wanted):.1%} |')
  print(f'\nEqual codes: {np.mean(drawn[0] == drawn[1]):.1%}')


if __name__ == '__main__':
  main()
