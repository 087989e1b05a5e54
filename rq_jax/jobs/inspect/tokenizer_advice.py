"""Warnings about a trained RQ-VAE, and the commands that use it."""

from collections.abc import Mapping
import shlex
from typing import Any

import numpy as np

from rq_jax.reports import numerals
from rq_jax.training import advice

# Training images from which each size of the RQ-Transformer is suggested.
_MODELS = {'small': 0, 'base': 10_000, 'large': 300_000}


def warnings(found: Mapping[str, Any]) -> list[str]:
  """Sentences about what is wrong with a trained RQ-VAE.

  Args:
    found: The figures that `job` collects.
  """
  train, test = found['splits']['train'], found['splits']['test']
  temperature = found['temperature']
  suggested = next(p for p in temperature['perplexity'] if p['multiple'] == 1)
  sentences = [
      advice.codebook_use(
          found['used'],
          (train['codes'] + test['codes']) * len(temperature['codewords']),
          found['codewords'],
      ),
      advice.held_out(train['mse'][-1], test['mse'][-1]),
      advice.targets(suggested['by_depth'], temperature['codewords']),
      _float16(train['features']),
  ]
  return [sentence for sentence in sentences if sentence]


def commands(found: Mapping[str, Any]) -> str:
  """The commands that lead from an RQ-VAE to a generator, one flag per line."""
  tokenizer = found['tokenizer']
  encode = ['encode', f'--tokenizer={tokenizer}', '--out=cache/mine']
  if found['other_images']:
    encode += [
        f'--config.data.source={found["source"]}',
        f'--config.data.path={found["path"]}',
    ]
  temperature = f'{found["temperature"]["suggested"]:.3g}'
  images = found['splits']['train']['of']
  size = [name for name, least in _MODELS.items() if images >= least][-1]
  train = [
      'train',
      f'--config=configs/own/rqtransformer.py:{size}',
      f'--config.tokenizer={tokenizer}',
      '--config.data.path=cache/mine',
      f'--config.loss.temperature={temperature}',
      '--workdir=runs/mine/rqtransformer',
  ]
  return '\n'.join(
      'python -m rq_jax ' + ' \\\n    '.join(map(shlex.quote, words))
      for words in (encode, train)
  )


def _float16(features: Mapping[str, float]) -> str | None:
  """Warns if a cache, which stores float16, cannot hold the features."""
  largest = float(np.finfo(np.float16).max)
  smallest = float(np.finfo(np.float16).smallest_normal)
  if max(-features['smallest'], features['largest']) > largest:
    return (
        f'Features range from {numerals.number(features["smallest"])} to'
        f' {numerals.number(features["largest"])}, but caches store them as'
        f' float16, whose largest number is {largest:,.0f}. Train again with a'
        ' smaller --config.optimizer.peak_lr or a larger'
        ' --config.loss.commitment_weight.'
    )
  if features['rms'] < smallest:
    return (
        f'The root mean square of the features is only {features["rms"]:.1g}.'
        ' Caches store features as float16, which loses digits below'
        f' {smallest:.1g}. Train the RQ-VAE for longer.'
    )
  return None
