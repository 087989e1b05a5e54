"""What all commands do alike: flags of their own, help, errors, exit codes."""

from collections.abc import Callable
import contextlib
import os
import sys

from absl import flags

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
    work: What to do with the parsed flags; may return an exit code.
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
    return _fail(f'{error} See {argv[0]} --help.')
  try:
    return work(values) or 0
  except (ValueError, FloatingPointError, ImportError, OSError) as error:
    return _fail(str(error))


def require(values: flags.FlagValues, *names: str) -> None:
  """Raises a ValueError that names the flags that must be given and are not."""
  if missing := [f'--{name}' for name in names if values[name].value is None]:
    raise ValueError(f'{" and ".join(missing)} must be given; see --help.')


def say(text: str) -> None:
  """Prints to the standard error, if anybody is there to read it."""
  with contextlib.suppress(OSError, ValueError):
    print(text, file=sys.stderr, flush=True)


def _fail(message: str) -> int:
  say(f'Error: {" ".join(message.split())}')
  return 1
