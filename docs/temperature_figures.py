r"""Compares the temperature 'auto' of the soft targets with fixed ones.

  python docs/temperature_figures.py \
      --rqvae=runs/mine/rqvae --cache=cache/mine --out=runs/temperatures \
      --kind=photographs

Trains an RQ-Transformer for each temperature: the one that 'auto' measures,
times 1/4, 1/2, 1, 2 and 4. Prints a row for each of them: perplexity of the
soft targets by depth, held-out loss, and class accuracy, see
docs/own_images_figures.py. Runs that have finished are not trained again.
"""

import json
import sys
from typing import Any

from absl import flags
from etils import epath
import own_images_figures
import tqdm

from rq_jax.cli import command
from rq_jax.data.sources import features as features_source
from rq_jax.jobs import train
from rq_jax.models import soft_targets
from rq_jax.tokenizer import Tokenizer
from rq_jax.training import inherit

_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def row(
    values: flags.FlagValues, measured: tuple[Any, Any, float], factor: float
) -> dict[str, Any]:
  """Trains with one temperature, and measures the images."""
  vectors, books, auto = measured
  temperature = float(f'{factor * auto:.3g}')
  folder = epath.Path(values.out) / f'{factor:g}'
  overrides = {
      'tokenizer': values.rqvae,
      'data.path': values.cache,
      'loss.temperature': temperature,
  }
  if values.steps:
    overrides |= {'train.steps': values.steps, 'train.epochs': None}
  config = inherit.load(values.config, overrides=overrides)
  last = train.train(config, folder)
  found = own_images_figures.figures(
      values.kind, values.rqvae, str(folder), values.per_class
  )
  perplexity = soft_targets.target_perplexity(vectors, books, temperature)
  return {
      'factor': factor,
      'temperature': temperature,
      'perplexity': [round(float(x), 1) for x in perplexity],
      'held-out loss': round(last['eval/loss'], 3),
      'class accuracy': round(found['accuracy, generated'], 4),
      'held-out accuracy': round(found['accuracy, held-out'], 4),
  }


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  command.define_path('rqvae', None, 'Workdir of the RQ-VAE.', values)
  command.define_path('cache', None, 'Cache of its features.', values)
  command.define_path('out', 'runs/temperatures', 'Folder for runs.', values)
  flags.DEFINE_string(
      'config', 'configs/own/rqtransformer.py:small',
      'Configuration of the RQ-Transformer.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_enum(
      'kind', 'photographs', ['photographs', 'shapes'],
      'What the classifier looks at.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
      'steps', None, 'Steps of each run; by default, those of --config.',
      flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
      'per_class', 200, 'Images to draw of each class.', flag_values=values
  )
  flags.DEFINE_list(
      'factors', [str(f) for f in _FACTORS],
      'Temperatures, in multiples of the measured one.', flag_values=values,
  )  # fmt: skip
  return values


def _measure(values: flags.FlagValues) -> None:
  command.require(values, 'rqvae', 'cache')
  tokenizer = Tokenizer.restore(values.rqvae)
  source = features_source.Features(values.cache, 'train')
  chosen = soft_targets.chosen(len(source))
  vectors, books = soft_targets.of_tokenizer(
      tokenizer.model,
      tokenizer.variables,
      [source[i]['features'][0] for i in chosen],  # The first view of each.
  )
  auto = soft_targets.suggest_temperature(vectors, books)
  rows = [
      row(values, (vectors, books, auto), float(factor))
      for factor in tqdm.tqdm(values.factors, desc='temperatures')
  ]
  for found in rows:
    print(json.dumps(found))


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _measure))
