r"""Lists, verifies or removes the checkpoints of a run.

  python -m rq_jax checkpoint list runs/rqvae
  python -m rq_jax checkpoint verify runs/rqvae
  python -m rq_jax checkpoint prune runs/rqvae --keep=2 --keep_every=10000
  python -m rq_jax checkpoint prune runs/rqvae --step=3000,4000 --dry_run

The folder is the --workdir of a run; `list` and `verify` also read inference
copies.

`list` prints the size, time, devices and evaluation of each checkpoint, and
why the run keeps it. `verify` reads every array; if a checkpoint is damaged, it
names it and exits with code 1. `prune` removes the checkpoints of --step, or
all except the newest --keep, the multiples of --keep_every, and the best one if
the run sets train.keep_best. It refuses to remove all, and to work while a
run uses the folder.
"""

import functools

from absl import flags

from rq_jax.cli import command

KINDS = ('list', 'verify', 'prune')


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  flags.DEFINE_integer(
      'keep',
      None,
      'prune: how many of the newest checkpoints to keep; 1 with only'
      ' --keep_every.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_integer(
      'keep_every',
      None,
      'prune: keeps steps that are multiples of this; 0 for none. By default,'
      ' those of the run, train.keep_every.',
      lower_bound=0,
      flag_values=values,
  )
  flags.DEFINE_list(
      'step',
      None,
      'prune: steps to remove, separated by commas, in place of --keep.',
      flag_values=values,
  )
  flags.DEFINE_bool(
      'dry_run',
      None,
      'prune: print what would be removed, and remove nothing.',
      flag_values=values,
  )
  return values


def main(argv: list[str]) -> int:
  """Parses the action, the folder and the flags; returns the exit code."""
  name, *rest = argv
  words = []
  while rest and not rest[0].startswith('-') and len(words) < 2:
    words.append(rest.pop(0))
  return command.run(
      _define_flags(),
      [name, *rest],
      __doc__,
      functools.partial(_work, words),
  )


def _work(words: list[str], values: flags.FlagValues) -> None:
  if len(words) < 2 or words[0] not in KINDS:
    given = ' '.join(words) or 'nothing'
    raise ValueError(
        f'checkpoint needs an action and a folder; {given} was given. Write,'
        ' for example, python -m rq_jax checkpoint list WORKDIR. Actions:'
        f' {", ".join(KINDS)}. See --help.'
    )
  action, path = words
  if action != 'prune':
    for name in ('keep', 'keep_every', 'step', 'dry_run'):
      command.refuse(values, name, unless=False)
  {'list': _list, 'verify': _verify, 'prune': _prune}[action](path, values)


def _list(path: str, values: flags.FlagValues) -> None:
  del values
  from rq_jax.jobs.checkpoint import listing

  listing.run(path)


def _verify(path: str, values: flags.FlagValues) -> None:
  del values
  from rq_jax.jobs.checkpoint import verifying

  verifying.run(path)


def _prune(path: str, values: flags.FlagValues) -> None:
  chosen = _steps(values.step)
  if chosen is None and values.keep is None and values.keep_every is None:
    raise ValueError(
        '--keep, --keep_every or --step must be given. See --help.'
    )
  for name in ('keep', 'keep_every'):
    command.refuse(values, name, unless=chosen is None)
  from rq_jax.jobs.checkpoint import pruning

  pruning.run(
      path,
      keep=values.keep,
      every=values.keep_every,
      chosen=chosen,
      dry_run=bool(values.dry_run),
  )


def _steps(texts: list[str] | None) -> list[int] | None:
  if texts is None:
    return None
  if not texts or not all(text.isdecimal() for text in texts):
    raise ValueError(
        f'--step={",".join(texts)} must be whole numbers, separated by commas,'
        ' such as --step=3000,4000.'
    )
  return [int(text) for text in texts]
