r"""Trains either stage, as its configuration says; resumes where it can.

  python -m rq_jax train --config=configs/digits/rqvae.py --workdir=runs/rqvae
  python -m rq_jax train --config=configs/digits/rqvae.py --workdir=runs/rqvae \
      --config.optimizer.peak_lr=1e-3

Run the same command again to go on after an interruption. Exit codes: 0
finished; 75 interrupted and resumable; 1 an error.
"""

import sys

from absl import flags
from ml_collections import config_flags

from rq_jax import config
from rq_jax.cli import command


def _define_flags(argv: list[str]) -> flags.FlagValues:
  values = command.new_flags()
  config_flags.DEFINE_config_file(
      'config',
      None,
      'File of the experiment; --config.FIELD=VALUE sets one of its fields.',
      lock_config=True,
      sys_argv=argv,
      flag_values=values,
  )
  flags.DEFINE_string(
      'workdir',
      None,
      'Folder of checkpoints, metrics and images.',
      flag_values=values,
  )
  flags.DEFINE_bool(
      'distributed',
      False,
      'Whether this is one of several processes, found as Slurm, GKE or a TPU'
      ' pod announce them.',
      flag_values=values,
  )
  flags.DEFINE_bool(
      'dry_run',
      False,
      'Check the experiment and stop, before anything is built.',
      flag_values=values,
  )
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and trains; returns the exit code."""
  return command.run(_define_flags(argv), argv, __doc__, _train)


def _train(values: flags.FlagValues) -> int:
  command.require(values, 'config', 'workdir')
  experiment = config.check(values.config.to_dict())
  if values.dry_run:
    print(config.to_json(experiment))
    return 0
  import jax  # After the checks: a typo should not wait for it.

  if values.distributed:
    jax.distributed.initialize()
  from rq_jax.training import experiment as run
  from rq_jax.training import interrupts

  try:
    results = run.train(experiment, values.workdir)
  except interrupts.Interrupted as stopped:
    print(stopped, file=sys.stderr)
    return command.INTERRUPTED
  for name, value in results.items():
    print(f'{name:32}{value:.5g}')
  return 0
