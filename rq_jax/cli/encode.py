r"""Caches the features of a dataset: encodes it once, for training in stage 2.

  python -m rq_jax encode --config=configs/digits/rqvae.py \
      --tokenizer=runs/digits/rqvae --out=cache/digits

The features are those before quantization, so that codes and soft targets can
be drawn anew in every step. Give the cache as --config.data.path.

Run the same command again to go on after an interruption: shards of the cache
that are finished are not encoded again. Exit codes: 0 finished; 75 interrupted
and resumable; 1 an error.
"""

from absl import flags
from ml_collections import config_flags

from rq_jax import config
from rq_jax.cli import command
from rq_jax.cli import distributed_flags


def _define_flags(argv: list[str]) -> flags.FlagValues:
  values = command.new_flags()
  config_flags.DEFINE_config_file(
      'config',
      None,
      'File of the stage-1 experiment; its section `data` says what to'
      ' encode.',
      lock_config=True,
      sys_argv=argv,
      flag_values=values,
  )
  flags.DEFINE_string(
      'tokenizer',
      None,
      'Workdir of the trained RQ-VAE, or a converted checkpoint.',
      flag_values=values,
  )
  flags.DEFINE_string('out', None, 'Folder of the cache.', flag_values=values)
  distributed_flags.define(values)
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and encodes; returns the exit code."""
  return command.run(
      _define_flags(argv), argv, __doc__, _encode, resumable=True
  )


def _encode(values: flags.FlagValues) -> None:
  command.require(values, 'config', 'tokenizer', 'out')
  raw = values.config.to_dict()
  # No loss is computed, and so no perceptual network asked for.
  raw.get('loss', {}).pop('perceptual_weight', None)
  experiment = config.check(raw)
  distributed_flags.join(values)
  from rq_jax import tokenizer
  from rq_jax.distributed import console
  from rq_jax.jobs import encode

  sentence = encode.encode(
      tokenizer.Tokenizer.restore(values.tokenizer),
      experiment.data,
      values.out,
  )
  console.tell(sentence)
