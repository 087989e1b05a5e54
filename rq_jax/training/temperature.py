"""The temperature of the soft targets of a run: set, or measured once."""

import dataclasses

from etils import epath
import numpy as np

from rq_jax.checkpoints import stored
from rq_jax.config import RQTransformerExperiment
from rq_jax.config import source_table
from rq_jax.data import loader
from rq_jax.data import sources
from rq_jax.distributed import console
from rq_jax.models import soft_targets
from rq_jax.tokenizer import Tokenizer
from rq_jax.training import advice


def settle(
    config: RQTransformerExperiment,
    tokenizer: Tokenizer,
    examples: sources.Source,
    folder: epath.Path,
) -> RQTransformerExperiment:
  """Replaces the temperature 'auto' by a number, and warns of a bad one.

  Args:
    config: A checked experiment.
    tokenizer: The tokenizer of the run.
    examples: The training split.
    folder: Workdir of the run. If it holds a run, its temperature is taken.

  Returns:
    The experiment, with a number for `loss.temperature`.

  Raises:
    ValueError: If the features do not vary, so that no temperature fits them.
  """
  measured = config.loss.temperature == 'auto'
  if (folder / 'config.json').exists():
    if not measured:
      return config
    old = stored.read_config(folder, stage=2)
    assert isinstance(old, RQTransformerExperiment)
    return _with(config, old.loss.temperature)
  cached = 'features' in source_table.SOURCES[config.data.source].provides
  if not (measured or cached):
    return config  # To encode images only for a warning would take too long.
  vectors, books = soft_targets.of_tokenizer(
      tokenizer.model,
      tokenizer.variables,
      _features(config, tokenizer, examples),
  )
  chosen = config.loss.temperature
  if measured:
    chosen = soft_targets.suggest_temperature(vectors, books)
  perplexity = soft_targets.target_perplexity(vectors, books, float(chosen))
  if measured:
    shown = ', '.join(f'{x:.1f}' for x in perplexity)
    console.tell(
        f'config.loss.temperature={chosen:g}, measured on the features. The'
        f' targets have a perplexity by depth of {shown}.'
    )
  advice.tell(
      advice.targets(perplexity.tolist(), [len(book) for book in books])
  )
  return _with(config, chosen)


def assumed(config: RQTransformerExperiment) -> RQTransformerExperiment:
  """The experiment with a number for 'auto', for plans, which do not use it."""
  return _with(config, 1.0) if config.loss.temperature == 'auto' else config


def _with(
    config: RQTransformerExperiment, temperature: float | str
) -> RQTransformerExperiment:
  loss = dataclasses.replace(config.loss, temperature=temperature)
  return dataclasses.replace(config, loss=loss)


def _features(
    config: RQTransformerExperiment,
    tokenizer: Tokenizer,
    examples: sources.Source,
) -> np.ndarray:
  """Features of some examples, float32[B, H, W, C]."""
  indices = soft_targets.chosen(len(examples))
  transform = loader.image_transform(config.data, train=False)
  if transform is None:
    return np.stack([examples[i]['features'] for i in indices])
  rng = np.random.default_rng(0)  # The transform of evaluations draws nothing.
  found = []
  for i in indices:
    # One at a time, so that memory does not depend on the size of the images.
    image = transform(examples[i], rng)['image'][None]
    found.append(np.asarray(tokenizer.features(image)))
  return np.concatenate(found)
