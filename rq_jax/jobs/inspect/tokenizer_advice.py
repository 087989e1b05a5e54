"""What follows from the figures of a trained RQ-VAE."""

from collections.abc import Mapping
import shlex
from typing import Any

import numpy as np


def warnings(found: Mapping[str, Any]) -> list[str]:
  """Sentences about what is wrong with a trained RQ-VAE.

  Args:
    found: The figures that `job` collects.
  """
  sentences = []
  if found['used'] < 0.1:
    sentences.append(
        f'Only {found["used"]:.1%} of the codewords are used. Train longer, or'
        ' with a smaller --config.model.codebook_size; restart of unused'
        ' codewords must be on (--config.model.restart=relative).'
    )
  held_out, train = (found['splits'][n]['mse'][-1] for n in ('test', 'train'))
  if held_out > 1.5 * train:
    sentences.append(
        f'The error on held-out images is {held_out / train:.1f} times that on'
        ' training images: the model has learned them by heart, or both splits'
        ' show different things. Use more images, or train for fewer steps.'
    )
  sentences += _range(found['splits']['train']['features'])
  sentences += _targets(found['temperature'])
  return sentences


def commands(found: Mapping[str, Any]) -> str:
  """The commands that lead from an RQ-VAE to a generator, one per line."""
  tokenizer = found['tokenizer']
  encode = ['encode', f'--tokenizer={tokenizer}', '--out=cache/mine']
  temperature = f'{found["temperature"]["suggested"]:.3g}'
  train = [
      'train',
      '--config=configs/own/rqtransformer.py:small',
      f'--config.tokenizer={tokenizer}',
      '--config.data.path=cache/mine',
      f'--config.loss.temperature={temperature}',
      '--workdir=runs/mine/rqtransformer',
  ]
  return '\n'.join(
      shlex.join(['python', '-m', 'rq_jax', *words])
      for words in (encode, train)
  )


def _range(features: Mapping[str, float]) -> list[str]:
  largest = np.finfo(np.float16).max
  if max(abs(features['smallest']), abs(features['largest'])) > largest:
    return [
        f'Features reach {features["smallest"]:.3g} to'
        f' {features["largest"]:.3g}, but float16, the type of feature caches,'
        f' ends at {largest:,.0f}.'
        ' Train again, with a smaller --config.optimizer.peak_lr or a larger'
        ' --config.loss.commitment_weight.'
    ]
  if features['rms'] < np.finfo(np.float16).smallest_normal:
    return [
        f'Features are about {features["rms"]:.1g}, so small that float16, the'
        ' type of feature caches, loses digits. The RQ-VAE has learned nothing'
        ' yet: train longer.'
    ]
  return []


def _targets(temperature: Mapping[str, Any]) -> list[str]:
  at_one = next(p for p in temperature['perplexity'] if p['multiple'] == 1)
  by_depth = np.array(at_one['by_depth'])
  shares = by_depth / np.array(temperature['codewords'])
  if np.all(by_depth < 1.1):
    words, why = 'nearly one-hot', 'lie far apart compared with the features'
  elif np.all(shares > 0.8):
    words, why = 'nearly uniform', 'lie close together compared with the error'
  else:
    return []
  return [
      f'Soft targets at the suggested temperature are {words}: the codewords'
      f' {why}. Check the reconstructions before you train stage 2.'
  ]
