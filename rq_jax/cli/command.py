"""What all commands share: separate flags, help, errors and exit codes."""

from collections.abc import Callable
import contextlib
import os
import sys

from absl import flags

from rq_jax import files
from rq_jax.distributed import interrupts

_NOTHING_TO_SAVE = (
    'Interrupted while there was nothing to save. Run the same command again.'
)
_LOST = (
    'Another process has stopped, or cannot be reached. Its message may give'
    ' the reason. Run the same command again, in all processes, to resume.'
)


def new_flags() -> flags.FlagValues:
  """New flags for one command, separate from those of other commands."""
  values = flags.FlagValues()
  flags.DEFINE_bool(
      'help', False, 'Show this help.', short_name='h', flag_values=values
  )
  return values


def define_path(
    name: str, default: str | None, help: str, values: flags.FlagValues
) -> None:
  """Defines a flag for a file or folder; see `files.path`."""
  flags.DEFINE(
      _PathParser(name),
      name,
      default,
      help,
      flag_values=values,
      serializer=flags.ArgumentSerializer(),
  )


class _PathParser(flags.ArgumentParser):
  """Parses a path, and refuses an empty one."""

  syntactic_help = 'a path'

  def __init__(self, name: str):
    super().__init__()
    self.name = name

  def parse(self, argument: str) -> str:
    try:
      return files.path(argument, f'--{self.name}')
    except ValueError as error:
      # For a ValueError, absl would repeat the flag and its value.
      raise flags.Error(str(error)) from error

  def flag_type(self) -> str:
    return 'path'


def run(
    values: flags.FlagValues,
    argv: list[str],
    doc: str | None,
    work: Callable[[flags.FlagValues], int | None],
    *,
    resumable: bool = False,
    more_help: Callable[[flags.FlagValues], str] | None = None,
) -> int:
  """Parses the flags and runs a command; returns the exit code.

  Args:
    values: The flags, defined and not yet parsed.
    argv: The name of the command and its arguments.
    doc: First part of the text for `--help`.
    work: Does the work, given the parsed flags. It may return an exit code and,
      if the command is resumable, raise `interrupts.Interrupted`.
    resumable: Whether a signal to stop ends the command with the exit code
      `interrupts.RESUMABLE`, so that it can be run again. While there is
      nothing to save, such a command exits at once.
    more_help: Makes the last part of the text for `--help` from the parsed
      flags.

  Returns:
    The exit code of `work`, or 0 if it returns None; 1 after an error, whose
    message is printed in one line.
  """
  signals = (
      interrupts.leaving_at_once(_NOTHING_TO_SAVE, interrupts.RESUMABLE)
      if resumable
      else interrupts.exiting()
  )
  with signals:
    return _run(values, argv, doc, work, more_help)


def _run(values, argv: list[str], doc: str | None, work, more_help) -> int:
  # Hides XLA's log, which reports slow compilation as an error. XLA raises real
  # errors as exceptions. Also hides informational logs of Orbax.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  try:
    rest = values(argv)[1:]
    if values['help'].value:
      print(f'{doc}\nFlags:\n{values.get_help()}')
      if more_help is not None:
        print(more_help(values))
      return 0
    if rest:
      raise flags.Error(f'Unexpected arguments: {" ".join(rest)}.')
  except (flags.Error, ValueError) as error:
    sentence = str(error)
    if sentence[-1:] not in ('.', '?'):  # Errors of absl have no full stop.
      sentence += '.'
    return fail(f'{sentence} See {argv[0]} --help.')
  try:
    return work(values) or 0
  except interrupts.Interrupted as stopped:
    say(str(stopped))
    return interrupts.RESUMABLE
  except Exception as error:
    if _has_lost_a_process(error):
      fail(_LOST)
      # The interpreter would wait for the lost process.
      interrupts.end_at_once(interrupts.RESUMABLE)
    if isinstance(
        error, (ValueError, FloatingPointError, ImportError, OSError)
    ):
      return fail(str(error))
    raise


def _has_lost_a_process(error: Exception) -> bool:
  """Whether an error means that another process has stopped.

  It does not return if the reason is known: a thread then prints the reason and
  ends this process.
  """
  if 'jax' not in sys.modules:
    return False
  # Imported here, because parsing flags does not need JAX.
  from rq_jax.distributed import peers
  from rq_jax.distributed import processes

  if not processes.is_lost(error):
    return False
  peers.await_reason()
  return True


def require(values: flags.FlagValues, *names: str) -> None:
  """Raises a ValueError that names all required flags that are missing."""
  if missing := [f'--{name}' for name in names if values[name].value is None]:
    raise ValueError(f'{" and ".join(missing)} must be given. See --help.')


def refuse(values: flags.FlagValues, name: str, *, unless: bool) -> None:
  """Raises a ValueError if a flag is set where it has no meaning."""
  if values[name].value is not None and not unless:
    raise ValueError(
        f'--{name}={values[name].value} has no meaning here. Leave it out; see'
        ' --help for its use.'
    )


def say(text: str) -> None:
  """Prints to the standard error, and ignores a closed one."""
  with contextlib.suppress(OSError, ValueError):
    print(text, file=sys.stderr, flush=True)


def fail(message: str) -> int:
  """Prints an error in one line; returns the exit code for errors."""
  say(f'Error: {" ".join(message.split())}')
  return 1
