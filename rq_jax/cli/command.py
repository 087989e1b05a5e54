"""What all commands do alike: flags of their own, help, errors, exit codes."""

from collections.abc import Callable
import contextlib
import os
import sys

from absl import flags

from rq_jax import files
from rq_jax.distributed import interrupts

# Of sysexits.h: try again later, as Slurm and Kubernetes can be told to do.
INTERRUPTED = 75
_NOTHING_TO_SAVE = (
    'Interrupted while there was nothing to save. Run the same command again.'
)


def new_flags() -> flags.FlagValues:
  """Flags of one command, apart from those of any other."""
  values = flags.FlagValues()
  flags.DEFINE_bool(
      'help', False, 'Show this help.', short_name='h', flag_values=values
  )
  return values


def define_path(
    name: str, default: str | None, help: str, values: flags.FlagValues
) -> None:
  """Defines a flag for a file or folder, see `files.path`."""
  flags.DEFINE(
      _PathParser(name),
      name,
      default,
      help,
      flag_values=values,
      serializer=flags.ArgumentSerializer(),
  )


class _PathParser(flags.ArgumentParser):
  """Reads a path, and refuses what is none."""

  syntactic_help = 'a path'

  def __init__(self, name: str):
    super().__init__()
    self.name = name

  def parse(self, argument: str) -> str:
    try:
      return files.path(argument, f'--{self.name}')
    except ValueError as error:
      # Of a ValueError, absl would repeat the flag and its value.
      raise flags.Error(str(error)) from error

  def flag_type(self) -> str:
    return 'path'


def run(
    values: flags.FlagValues,
    argv: list[str],
    doc: str,
    work: Callable[[flags.FlagValues], int | None],
    *,
    resumable: bool = False,
    more_help: Callable[[flags.FlagValues], str] | None = None,
) -> int:
  """Parses flags and works; returns the exit code.

  Args:
    values: The flags, defined and not yet parsed.
    argv: The name of the command and its arguments.
    doc: What `--help` says first.
    work: What to do with the parsed flags; may return an exit code, or raise
      `interrupts.Interrupted` if it is resumable.
    resumable: Whether a signal to stop ends the command with `INTERRUPTED`: it
      can be run again, and while there is nothing to save, it leaves at once.
    more_help: What `--help` says last, of the parsed flags.

  Returns:
    What `work` does, 0 for None; 1 after an error, of which one sentence is
    printed.
  """
  signals = (
      interrupts.leaving_at_once(_NOTHING_TO_SAVE, INTERRUPTED)
      if resumable
      else interrupts.exiting()
  )
  with signals:
    return _run(values, argv, doc, work, more_help)


def _run(values, argv: list[str], doc: str, work, more_help) -> int:
  # Orbax logs what it does at the level of information; errors still show.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
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
    sentence = str(error).rstrip('.')  # Those of absl have no full stop.
    return fail(f'{sentence}. See {argv[0]} --help.')
  try:
    return work(values) or 0
  except interrupts.Interrupted as stopped:
    say(str(stopped))
    return INTERRUPTED
  except (ValueError, FloatingPointError, ImportError, OSError) as error:
    return fail(str(error))


def require(values: flags.FlagValues, *names: str) -> None:
  """Raises a ValueError that names the flags that must be given and are not."""
  if missing := [f'--{name}' for name in names if values[name].value is None]:
    raise ValueError(f'{" and ".join(missing)} must be given; see --help.')


def refuse(values: flags.FlagValues, name: str, *, unless: bool) -> None:
  """Raises a ValueError if a flag is set where it has no meaning."""
  if values[name].value is not None and not unless:
    raise ValueError(
        f'--{name}={values[name].value} has no meaning here; see --help for'
        ' where it has. Leave it out.'
    )


def say(text: str) -> None:
  """Prints to the standard error, if anybody is there to read it."""
  with contextlib.suppress(OSError, ValueError):
    print(text, file=sys.stderr, flush=True)


def fail(message: str) -> int:
  """Prints an error in one line; returns the exit code of errors."""
  say(f'Error: {" ".join(message.split())}')
  return 1
