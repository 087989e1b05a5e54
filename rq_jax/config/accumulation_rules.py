"""The rules of `train.accumulate`, which splits batches into pieces."""

from typing import TYPE_CHECKING

from rq_jax.config.model_rules import require

if TYPE_CHECKING:  # At run time, this would be a circular import.
  from rq_jax.config.experiment import Experiment


def possible(experiment: 'Experiment') -> None:
  """Requires pieces of one size, and a codebook that moves once per step."""
  size, pieces = experiment.data.batch_size, experiment.train.accumulate
  require(
      size % pieces == 0,
      f'config.train.accumulate={pieces}',
      f'must divide config.data.batch_size={size}, because all pieces of a'
      ' batch have the same size',
      '--config.train.accumulate or --config.data.batch_size',
  )
  update = getattr(experiment.model, 'codebook_update', 'step')
  require(
      pieces == 1 or update == 'step',
      f'config.train.accumulate={pieces} with'
      f' config.model.codebook_update={update!r}',
      'is not possible, because the codebook would have to move towards the'
      ' whole batch after each depth, before any piece is decoded',
      "--config.model.codebook_update to 'step', or --config.train.accumulate"
      ' to 1',
  )
