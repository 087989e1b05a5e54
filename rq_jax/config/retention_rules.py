"""Rules for the checkpoints that a run keeps, and the metrics it logs."""

from typing import TYPE_CHECKING

from rq_jax.config.model_rules import require

if TYPE_CHECKING:  # At run time, this would be a circular import.
  from rq_jax.config.experiment import Experiment

# Images that the Inception Score needs, in the dialects that define it.
INCEPTION_SCORE_NEEDS = {'adm': 1, 'torch-fidelity': 10, 'rq': 10}


def evaluated(experiment: 'Experiment') -> dict[str, bool]:
  """Metrics of an evaluation by name, and whether a higher value is better."""
  depths = range(1, experiment.model.code_shape[2] + 1)
  if experiment.stage == 1:
    found = {
        'mse': False,
        **{f'psnr_depth{d}': True for d in depths},
        'quantization_error': False,
        'codebook_perplexity': True,
        'codebook_used': True,
    }
    if getattr(experiment.loss, 'perceptual_weight', 0):
      found['perceptual'] = False
    if experiment.train.eval_samples:
      found['rfid'] = False
  else:
    train = experiment.train
    found = {'loss': False}
    found |= {f'loss_depth{d}': False for d in depths}
    found |= {f'accuracy_depth{d}': True for d in depths}
    if train.eval_samples:
      found['fid'] = False
      needs = INCEPTION_SCORE_NEEDS.get(train.eval_dialect)
      if needs and train.eval_samples >= needs:
        found['is'] = True
  return {f'eval/{name}': higher for name, higher in found.items()}


def possible(experiment: 'Experiment') -> None:
  """Requires that the checkpoints to keep are saved, and the metric logged."""
  train = experiment.train
  require(
      train.keep_every % train.checkpoint_steps == 0,
      f'config.train.keep_every={train.keep_every}',
      'must be a multiple of'
      f' config.train.checkpoint_steps={train.checkpoint_steps}, because other'
      ' steps have no checkpoint',
      '--config.train.keep_every or --config.train.checkpoint_steps',
  )
  names = evaluated(experiment)
  require(
      train.keep_best is None or train.keep_best in names,
      f'config.train.keep_best={train.keep_best!r}',
      f'must be a metric that this run evaluates: {", ".join(names)}',
      '--config.train.keep_best',
  )
