r"""Trains an RQ-VAE or an RQ-Transformer, or resumes its training.

  python -m rq_jax train --config=configs/digits/rqvae.py --workdir=runs/rqvae
  python -m rq_jax train --config=configs/digits/rqvae.py --workdir=runs/rqvae \
      --config.optimizer.peak_lr=1e-3
  python -m rq_jax train --config=configs/imagenet256/rqvae.py --dry_run \
      --devices=64
  python -m rq_jax train --config=configs/digits/rqvae.py --help

The third command prints only an estimate: parameters, how the devices split
them, memory, and floating-point operations. With --target=v5e:2x4 in place of
--devices, it also compiles the training step for such devices, which takes
minutes; see the command compile. The last command lists the fields of an
experiment.

To resume after an interruption, run the same command again. Exit codes: 0
finished; 75 interrupted and resumable; 1 an error.
"""

import functools
import os

from absl import flags

from rq_jax import config
from rq_jax.cli import command
from rq_jax.cli import config_flag
from rq_jax.cli import distributed_flags


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  config_flag.define(
      values,
      'Configuration file, or folder of a run, whose experiment to use.'
      ' --config.FIELD=VALUE sets one of its fields.',
  )
  command.define_path(
      'workdir', None, 'Folder for checkpoints, metrics and images.', values
  )
  distributed_flags.define(values)
  flags.DEFINE_bool(
      'dry_run',
      False,
      'Print the experiment, an estimate of its memory and cost, and whether it'
      ' can be exported to the official code; then stop. Neither data nor'
      ' weights need to exist.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'devices',
      None,
      'With --dry_run: number of devices to plan for; by default, those of this'
      ' machine.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_string(
      'target',
      None,
      'With --dry_run: devices to plan and compile for, such as v5p:4x4x4 or'
      ' h200:8; see `compile --help`.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'profile',
      None,
      'Records a trace of this many steps, after the first one, in'
      ' WORKDIR/profile.',
      lower_bound=1,
      flag_values=values,
  )
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and trains; returns the exit code."""
  argv, changes = config_flag.split(argv)
  return command.run(
      _define_flags(),
      argv,
      __doc__,
      functools.partial(_train, changes),
      resumable=True,
      more_help=functools.partial(config_flag.list_fields, changes),
  )


def _train(changes: config_flag.Changes, values: flags.FlagValues) -> int:
  command.require(values, 'config', *([] if values.dry_run else ['workdir']))
  for name in ('devices', 'target'):
    if values[name].value is not None and not values.dry_run:
      raise ValueError(
          f'--{name}={values[name].value} needs --dry_run, because training'
          f' uses all devices. Add --dry_run, or leave out --{name}.'
      )
  if values.dry_run:
    distributed_flags.refuse(values)
    command.refuse(values, 'profile', unless=False)
    command.refuse(values, 'devices', unless=values.target is None)
  if values.target is not None:
    # Before JAX starts: nothing runs on a device of this machine.
    os.environ['JAX_PLATFORMS'] = 'cpu'
  from rq_jax.training import inherit

  raw = config_flag.read(values.config, changes)
  raw, taken = inherit.complete(raw, with_data=not values.dry_run)
  experiment = config.check(raw, with_data=not values.dry_run)
  if values.dry_run:
    if values.target is None:
      _plan(experiment, values.devices)
    else:
      _compile(experiment, values.target)
    return 0
  distributed_flags.join(values)
  from rq_jax.distributed import console
  from rq_jax.jobs import train
  from rq_jax.training import time_accounts

  if taken:
    console.tell(taken)
  results = train.train(
      experiment,
      values.workdir,
      profile=values.profile or 0,
      started=time_accounts.process_started(),
  )
  for name, value in results.items():
    console.tell(f'{name:32}{value:.5g}')
  return 0


def _plan(experiment: config.Experiment, devices: int | None) -> None:
  """Prints the experiment and its plan."""
  import jax

  from rq_jax.distributed import console
  from rq_jax.jobs.plan import estimate
  from rq_jax.jobs.plan import table

  made = estimate.make(experiment, devices or jax.device_count())
  console.tell(f'{config.to_json(experiment)}\n\n{table.text(made)}')


def _compile(experiment: config.Experiment, target: str) -> None:
  """Prints the plan for a target, and what its compiled step contains."""
  from rq_jax.jobs.compile import job
  from rq_jax.jobs.compile import programs
  from rq_jax.jobs.compile import targets

  _plan(experiment, len(targets.find(target).devices))
  job.run(experiment, what='train', target=target, options=programs.Options())
