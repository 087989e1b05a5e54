"""Flags for commands that several processes can run together."""

from absl import flags

from rq_jax.cli import command


def define(values: flags.FlagValues) -> None:
  """Adds these flags to those of a command."""
  flags.DEFINE_enum(
      'distributed',
      'auto',
      ['auto', 'off'],
      'Which processes work together. auto: all that Slurm, MPI, Kubernetes or'
      ' a TPU pod announces, or only this one if none are announced. off: only'
      ' this one.',
      flag_values=values,
  )
  flags.DEFINE_string(
      'coordinator',
      None,
      'HOST:PORT of the first process, the same in all processes. Use it with'
      ' --processes and --process, in place of announced processes.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'processes',
      None,
      'With --coordinator: number of processes.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'process',
      None,
      'With --coordinator: index of this process, starting at 0.',
      flag_values=values,
  )


def refuse(values: flags.FlagValues) -> None:
  """Raises a ValueError if one of these flags is set, except --distributed."""
  for name in ('coordinator', 'processes', 'process'):
    command.refuse(values, name, unless=False)


def join(values: flags.FlagValues) -> None:
  """Joins the processes of the flags. Call it before anything else in JAX."""
  from rq_jax.distributed import processes

  processes.initialize(
      values.distributed,
      coordinator=values.coordinator,
      processes=values.processes,
      process=values.process,
  )
