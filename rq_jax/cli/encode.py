r"""Caches the features of a dataset: encodes it once, for training in stage 2.

  python -m rq_jax encode --config=configs/digits/rqvae.py \
      --tokenizer=runs/digits/rqvae --out=cache/digits

The features are those before quantization, so that codes and soft targets can
be drawn anew in every step. Give the cache as --config.data.path.
"""

import functools

from absl import flags

from rq_jax import config
from rq_jax.cli import command
from rq_jax.cli import config_flag


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
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and encodes; returns the exit code."""
  argv, changes = config_flag.split(argv)
  return command.run(
      _define_flags(),
      argv,
      __doc__,
      functools.partial(_encode, changes),
      more_help=functools.partial(config_flag.list_fields, changes),
  )


def _encode(changes: config_flag.Changes, values: flags.FlagValues) -> None:
  command.require(values, 'config', 'tokenizer', 'out')
  experiment = config.parse(config_flag.read(values.config, changes))
  from rq_jax import tokenizer
  from rq_jax.jobs import encode

  encode.encode(
      tokenizer.Tokenizer.restore(values.tokenizer),
      experiment.data,
      values.out,
  )
