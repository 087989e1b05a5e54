"""What all commands do alike: flags of their own, help, errors, exit codes."""

from collections.abc import Callable
import contextlib
import os
import re
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
    return _run(values, argv, doc, work)


def _run(values, argv: list[str], doc: str, work) -> int:
  # Orbax logs what it does at the level of information; errors still show.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  try:
    _check_config_file(argv)
    rest = values(argv)[1:]
    if values['help'].value:
      print(f'{doc}\nFlags:\n{values.get_help()}')
      return 0
    if rest:
      raise flags.Error(f'Unexpected arguments: {" ".join(rest)}.')
  except (AttributeError, KeyError) as error:
    return _fail(_unknown_field(error))
  except (flags.Error, ValueError, OSError) as error:
    return _fail(_refused(error) or f'{error} See {argv[0]} --help.')
  try:
    return work(values) or 0
  except interrupts.Interrupted as stopped:
    say(str(stopped))
    return INTERRUPTED
  except (ValueError, FloatingPointError, ImportError, OSError) as error:
    return _fail(str(error))


def _check_config_file(argv: list[str]) -> None:
  """Says plainly that a file is missing; ml_collections hides it in a trace."""
  for argument in argv:
    name, _, value = argument.partition('=')
    path = value.partition(':')[0]
    if name.lstrip('-') == 'config' and path and not os.path.exists(path):
      raise ValueError(f'--config={value}: there is no file {path}.')


def _unknown_field(error: Exception) -> str:
  """Rewords what ml_collections says of a --config flag that names no field."""
  near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', str(error))
  if near:
    return f'No field is named {near[2]}. Did you mean {near[1]}?'
  return f'A --config flag names no field: {error}.'


def _refused(error: Exception) -> str | None:
  """What a configuration file itself said, from the trace around it."""
  if 'Error whilst parsing config file' not in str(error):
    return None
  kind, _, message = str(error).splitlines()[-1].partition(': ')
  if kind == 'TypeError' and 'get_config() takes 0' in message:
    return 'This --config takes nothing after its name: leave out the colon.'
  return message if kind == 'ValueError' else None


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
