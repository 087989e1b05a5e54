r"""Caches the features of a dataset: encodes it once, for training in stage 2.

  python -m rq_jax encode --config=configs/digits/rqvae.py \
      --tokenizer=runs/digits/rqvae --out=cache/digits

The features are those before quantization, so that codes and soft targets can
be drawn anew in every step. Give the cache as --config.data.path.

Run the same command again to go on after an interruption: shards of the cache
that are finished are not encoded again. Exit codes: 0 finished; 75 interrupted
and resumable; 1 an error.
"""

import functools

from absl import flags

from rq_jax import config
from rq_jax.cli import command
from rq_jax.cli import config_flag
from rq_jax.cli import distributed_flags


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  config_flag.define(
      values, 'File of an experiment, whose section `data` is what to encode.'
  )
  command.define_path(
      'tokenizer',
      None,
      'Workdir of the trained RQ-VAE, or a converted checkpoint.',
      values,
  )
  command.define_path('out', None, 'Folder of the cache.', values)
  distributed_flags.define(values)
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and encodes; returns the exit code."""
  argv, changes = config_flag.split(argv)
  return command.run(
      _define_flags(),
      argv,
      __doc__,
      functools.partial(_encode, changes),
      resumable=True,
      more_help=functools.partial(config_flag.list_fields, changes),
  )


def _encode(changes: config_flag.Changes, values: flags.FlagValues) -> None:
  command.require(values, 'config', 'tokenizer', 'out')
  experiment = config.parse(config_flag.read(values.config, changes))
  distributed_flags.join(values)
  from rq_jax.distributed import console
  from rq_jax.jobs import encode

  console.tell(encode.run(values.tokenizer, experiment.data, values.out))
