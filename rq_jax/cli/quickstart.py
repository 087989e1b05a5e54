"""Trains both stages on real digits, draws images and writes a report.

  python -m rq_jax quickstart --out=runs/quickstart

This takes about seven minutes on two CPU cores. Then open report.html in the
folder --out.
"""

from absl import flags

from rq_jax.cli import command


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  command.define_path(
      'out',
      'runs/quickstart',
      'Folder for both workdirs, the samples and the report.',
      values,
  )
  flags.DEFINE_integer(
      'seed',
      0,
      'Seed of both trainings and of all draws; in [0, 2**32).',
      flag_values=values,
  )
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and runs the quickstart; returns the exit code."""
  return command.run(
      _define_flags(), argv, __doc__, _quickstart, resumable=True
  )


def _quickstart(values: flags.FlagValues) -> None:
  from rq_jax.jobs.quickstart import job

  job.quickstart(values.out, seed=values.seed)
