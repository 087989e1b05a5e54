r"""Encodes a dataset once, and caches its features for training in stage 2.

  python -m rq_jax encode --tokenizer=runs/digits/rqvae --out=cache/digits

The dataset is the one that the tokenizer was trained on. Flags such as
--config.data.path=IMAGES change its settings; --config=FILE takes all of them
from another experiment.

The cache holds the features before quantization, so that training draws new
codes and soft targets in every step. To train from it, give its folder as
--config.data.path. --views=N encodes N crops of each training image.

To resume after an interruption, run the same command again: finished shards of
the cache are not encoded again. Exit codes: 0 finished; 75 interrupted and
resumable; 1 an error.
"""

import functools
import os

from absl import flags

from rq_jax import config
from rq_jax import files
from rq_jax.cli import command
from rq_jax.cli import config_flag
from rq_jax.cli import distributed_flags
from rq_jax.config import reading


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  config_flag.define(
      values,
      'Configuration file, or folder of a run. Its section `data` describes the'
      ' dataset to encode, and its seed draws the views. By default, the'
      ' experiment that trained the tokenizer.',
  )
  command.define_path(
      'tokenizer',
      None,
      'Workdir of the trained RQ-VAE, or a converted checkpoint.',
      values,
  )
  command.define_path('out', None, 'Folder for the cache.', values)
  flags.DEFINE_integer(
      'views',
      None,
      'Number of views of each training image. By default one, its center.'
      ' Several views are cropped and mirrored at random, as'
      ' --config.data.crop and --config.data.flip describe. Training picks one'
      ' of them in each epoch.',
      flag_values=values,
  )
  flags.DEFINE_bool(
      'verify',
      False,
      'Instead of encoding, compare the files of the finished cache --out with'
      ' the hashes that were recorded when it was encoded.',
      flag_values=values,
  )
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
  if values.verify:
    _verify(changes, values)
    return
  command.require(values, 'tokenizer', 'out')
  experiment = _read(changes, values)
  distributed_flags.join(values)
  from rq_jax.distributed import console
  from rq_jax.jobs.encode import job as encode

  data = experiment.data
  path = '' if data.path is None else f' in {data.path}'
  console.tell(f'Data: {data.source!r}{path}.')
  console.tell(
      encode.run(
          values.tokenizer,
          data,
          values.out,
          views=1 if values.views is None else values.views,
          seed=experiment.seed,
      )
  )


def _read(
    changes: config_flag.Changes, values: flags.FlagValues
) -> config.Experiment:
  """Reads the experiment --config, or else that of the tokenizer."""
  if values.config is not None:
    return config.parse(config_flag.read(values.config, changes))
  from rq_jax.checkpoints import stored

  own = stored.read_config(values.tokenizer, stage=1)
  given = config_flag.changed(reading.filled_in(own), changes)
  experiment = config.parse(given)
  _check_path(values.tokenizer, own.data.path, experiment.data.path)
  return experiment


def _check_path(tokenizer: str, own: str | None, chosen: str | None) -> None:
  """Checks that the data of the tokenizer is here, unless flags changed it.

  Args:
    tokenizer: The tokenizer.
    own: Path of the data that it records; None if the data needs no path.
    chosen: Path of the data to encode.
  """
  if own is None or chosen != own:
    return
  if files.is_local(own) and not os.path.exists(own):
    raise ValueError(
        f'{tokenizer} was trained on config.data.path={own!r}, which does not'
        ' exist here. A converted checkpoint records no path, only the name'
        ' of its dataset. Set --config.data.path to the images to encode, and'
        ' --config.data.source if they are not a folder of images.'
    )


def _verify(changes: config_flag.Changes, values: flags.FlagValues) -> None:
  command.require(values, 'out')
  for name in ('config', 'tokenizer', 'views'):
    command.refuse(values, name, unless=False)
  if changes:
    raise ValueError(
        f'--config.{changes[0][0]} has no meaning with --verify. Leave it out.'
    )
  from rq_jax.distributed import console
  from rq_jax.jobs.encode import verify

  console.tell(verify.verify(values.out))
