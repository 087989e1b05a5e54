"""Runs `python -m rq_jax COMMAND`; each command is a module of `rq_jax.cli`."""

import difflib
import importlib
import os
import sys
import traceback
from typing import NoReturn, TextIO

from rq_jax import huge_pages

COMMANDS = {
    'inspect': 'Describe a dataset or a trained RQ-VAE, and warn of mistakes.',
    'prepare': 'Prepare a downloaded dataset for training.',
    'train': 'Train an RQ-VAE or an RQ-Transformer, or resume its training.',
    'encode': 'Cache the features of a dataset for training in stage 2.',
    'sample': 'Draw images with a trained model.',
    'evaluate': 'Compute FID and other metrics of images or of a model.',
    'convert': 'Convert official checkpoints, or export to their format.',
    'checkpoint': 'List, verify or remove the checkpoints of a run.',
    'compile': 'Compile a program for a TPU or GPU, and count what it does.',
    'benchmark': 'Time sampling, and compare it with the limits of the chip.',
    'quickstart': 'Train both stages on digits, and write a report.',
}


def main(argv: list[str] | None = None) -> int:
  """Runs a command and returns its exit code."""
  arguments = sys.argv[1:] if argv is None else argv
  if not arguments or arguments[0] in ('-h', '--help', 'help'):
    print(_usage())
    return 0
  name, *rest = arguments
  if name not in COMMANDS:
    from rq_jax.cli import command

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    offer = f'Did you mean {close[0]}?' if close else 'See python -m rq_jax.'
    return command.fail(f'There is no command {name}. {offer}')
  module = importlib.import_module(f'rq_jax.cli.{name}')
  return module.main([f'python -m rq_jax {name}', *rest])


def program() -> NoReturn:
  """Runs a command as a program, and exits.

  After an error or a failed save it exits at once. Otherwise, a thread that
  waits for the failed work, such as the rest of a save, would keep the process
  alive.
  """
  try:
    code = main()
  except Exception:  # A bug. The interpreter would wait for threads, too.
    traceback.print_exc()
    code = 1
  if code == 1 or _has_failed_saves():
    from rq_jax.distributed import interrupts

    interrupts.end_at_once(code)
  _discard_unwritable(sys.stderr)
  if code:  # Otherwise Python reports that results could not be written.
    _discard_unwritable(sys.stdout)
  sys.exit(code)


def _discard_unwritable(stream: TextIO | None) -> None:
  """Discards text for a closed terminal, or Python would exit with 120."""
  if stream is None or stream.closed:
    return
  try:
    stream.flush()
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _has_failed_saves() -> bool:
  """Whether saves have failed; other processes may leave then."""
  failures = sys.modules.get('rq_jax.checkpoints.failures')
  if failures is None or not failures.seen():
    return False
  import jax

  if jax.distributed.is_initialized():
    jax.distributed.shutdown()
  return True


def _usage() -> str:
  lines = [f'  {name:12}{text}' for name, text in COMMANDS.items()]
  return '\n'.join(
      [
          'python -m rq_jax COMMAND [--flags]',
          '',
          *lines,
          '',
          'python -m rq_jax COMMAND --help lists the flags of a command.',
      ]
  )


if __name__ == '__main__':
  huge_pages.start_again()
  program()
