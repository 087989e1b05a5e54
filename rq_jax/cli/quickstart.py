"""Trains both stages on real handwritten digits, draws some, and reports.

  python -m rq_jax quickstart --out=runs/quickstart

About seven minutes on two CPU cores. Open report.html in the folder afterwards.
"""

import sys

from absl import flags

from rq_jax.cli import command

_FLAGS = command.new_flags()
_OUT = flags.DEFINE_string(
    'out',
    'runs/quickstart',
    'Folder of both workdirs, the samples and the report.',
    flag_values=_FLAGS,
)
_SEED = flags.DEFINE_integer(
    'seed', 0, 'Of both trainings and of all draws.', flag_values=_FLAGS
)


def main(argv: list[str]) -> int:
  """Parses the flags and works; returns the exit code."""
  return command.run(_FLAGS, argv, __doc__, _quickstart)


def _quickstart() -> int:
  from rq_jax.jobs import quickstart
  from rq_jax.training import interrupts

  try:
    quickstart.quickstart(_OUT.value, seed=_SEED.value)
  except interrupts.Interrupted as stopped:
    print(stopped, file=sys.stderr)
    return command.INTERRUPTED
  return 0
