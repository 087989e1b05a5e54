"""Flags that say which processes work together: those of every long command."""

from absl import flags


def define(values: flags.FlagValues) -> None:
  """Defines them among the flags of a command."""
  flags.DEFINE_enum(
      'distributed',
      'auto',
      ['auto', 'off'],
      'Which processes work together. auto: those that Slurm, MPI, Kubernetes'
      ' or a TPU pod announces; where nothing announces several, this one only.'
      ' off: this one only.',
      flag_values=values,
  )
  flags.DEFINE_string(
      'coordinator',
      None,
      'With --processes and --process, instead of what is announced: HOST:PORT'
      ' of the first process, the same for all.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'processes',
      None,
      'With --coordinator: how many processes there are.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'process',
      None,
      'With --coordinator: the number of this process, from 0.',
      flag_values=values,
  )


def join(values: flags.FlagValues) -> None:
  """Joins the processes that the flags name, before any other call of JAX."""
  from rq_jax.distributed import processes

  processes.initialize(
      values.distributed,
      coordinator=values.coordinator,
      processes=values.processes,
      process=values.process,
  )
