r"""Encodes a dataset once, and caches its features for training in stage 2.

  python -m rq_jax encode --config=configs/digits/rqvae.py \
      --tokenizer=runs/digits/rqvae --out=cache/digits

The cache holds the features before quantization, so that training draws new
codes and soft targets in every step. To train from it, give its folder as
--config.data.path.

To resume after an interruption, run the same command again: finished shards of
the cache are not encoded again. Exit codes: 0 finished; 75 interrupted and
resumable; 1 an error.
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
      values,
      'Configuration file, or folder of a run; its section `data` describes the'
      ' dataset to encode.',
  )
  command.define_path(
      'tokenizer',
      None,
      'Workdir of the trained RQ-VAE, or a converted checkpoint.',
      values,
  )
  command.define_path('out', None, 'Folder for the cache.', values)
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
