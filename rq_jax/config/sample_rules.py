"""Rules for the images that training compares as sets to evaluate a model."""

from typing import TYPE_CHECKING

from rq_jax.config.model_rules import require

if TYPE_CHECKING:  # At run time, this would be a circular import.
  from rq_jax.config.experiment import Experiment
  from rq_jax.config.experiment import RQTransformerExperiment
  from rq_jax.config.experiment import RQVAEExperiment


def no_reference(experiment: 'RQVAEExperiment') -> None:
  """Refuses statistics to compare with in stage 1."""
  require(
      experiment.train.eval_reference is None,
      f'config.train.eval_reference={experiment.train.eval_reference}',
      'has no meaning in stage 1, which compares reconstructions with their'
      ' originals',
      '--config.train.eval_reference to None',
  )


def reconstructed(experiment: 'RQVAEExperiment') -> None:
  """Requires everything that rFID needs, if it is computed."""
  _enough(experiment, needed=('eval_inception',))


def drawn(experiment: 'RQTransformerExperiment') -> None:
  """Requires everything that FID of samples needs, if there are samples."""
  _enough(experiment, needed=('eval_inception', 'eval_reference'))
  train = experiment.train
  require(
      not (train.eval_samples and experiment.model.text_vocab_size),
      f'config.train.eval_samples={train.eval_samples}',
      'is only possible for models by class and without conditions',
      '--config.train.eval_samples to 0',
  )


def _enough(experiment: 'Experiment', *, needed: tuple[str, ...]) -> None:
  """Requires at least two images, and other fields, if there are images."""
  train = experiment.train
  given = f'config.train.eval_samples={train.eval_samples}'
  require(
      train.eval_samples != 1,
      given,
      'must be 0 or at least 2, because one image has no covariance',
      '--config.train.eval_samples',
  )
  for name in needed if train.eval_samples else ():
    require(
        getattr(train, name) is not None,
        given,
        f'needs config.train.{name}, too',
        f'--config.train.{name}, or --config.train.eval_samples to 0',
    )
