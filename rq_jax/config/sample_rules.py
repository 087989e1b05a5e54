"""Rules for the images that training draws to evaluate a model."""

from typing import TYPE_CHECKING

from rq_jax.config.model_rules import require

if TYPE_CHECKING:  # At run time, this would be a circular import.
  from rq_jax.config.experiment import RQTransformerExperiment
  from rq_jax.config.experiment import RQVAEExperiment


def absent(experiment: 'RQVAEExperiment') -> None:
  """Refuses samples in stage 1."""
  require(
      experiment.train.eval_samples == 0,
      f'config.train.eval_samples={experiment.train.eval_samples}',
      'has no meaning in stage 1, which draws no images',
      '--config.train.eval_samples to 0',
  )


def possible(experiment: 'RQTransformerExperiment') -> None:
  """Requires everything that FID of samples needs, if there are samples."""
  train = experiment.train
  if not train.eval_samples:
    return
  given = f'config.train.eval_samples={train.eval_samples}'
  for name in ('eval_inception', 'eval_reference'):
    require(
        getattr(train, name) is not None,
        given,
        f'needs config.train.{name}, too',
        f'--config.train.{name}, or --config.train.eval_samples to 0',
    )
  require(
      not experiment.model.text_vocab_size,
      given,
      'is only possible for models by class and without conditions',
      '--config.train.eval_samples to 0',
  )
