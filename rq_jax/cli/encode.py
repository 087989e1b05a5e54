r"""Caches the features of a dataset: encodes it once, for training in stage 2.

  python -m rq_jax encode --config=configs/digits/rqvae.py \
      --tokenizer=runs/digits/rqvae --out=cache/digits

The features are those before quantization, so that codes and soft targets can
be drawn anew in every step. Give the cache as --config.data.path.
"""

from absl import flags
from ml_collections import config_flags

from rq_jax import config
from rq_jax.cli import command

_FLAGS = command.new_flags()
_CONFIG = config_flags.DEFINE_config_file(
    'config',
    None,
    'File of the stage-1 experiment; its section `data` tells what to encode.',
    lock_config=True,
    flag_values=_FLAGS,
)
_TOKENIZER = flags.DEFINE_string(
    'tokenizer',
    None,
    'Workdir of the trained RQ-VAE, or a converted checkpoint.',
    flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string(
    'out', None, 'Folder of the cache.', flag_values=_FLAGS
)


def main(argv: list[str]) -> int:
  """Parses the flags and encodes; returns the exit code."""
  return command.run(_FLAGS, argv, __doc__, _encode)


def _encode() -> None:
  command.require(_FLAGS, 'config', 'tokenizer', 'out')
  experiment = config.check(_CONFIG.value.to_dict())
  from rq_jax import tokenizer
  from rq_jax.jobs import encode

  encode.encode(
      tokenizer.Tokenizer.restore(_TOKENIZER.value),
      experiment.data,
      _OUT.value,
  )
