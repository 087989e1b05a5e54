r"""Describes a dataset or a trained RQ-VAE, and warns of common mistakes.

  python -m rq_jax inspect --data=IMAGES --out=report/images
  python -m rq_jax inspect --tokenizer=runs/mine/rqvae --out=report/rqvae

The first command reads every image once. It prints the number of images in each
split, their classes and sizes, files that cannot be read, copies within and
across the splits, and an image size to train with.

The second command encodes images with a trained RQ-VAE: those that it was
trained on, or those of --data. It prints the use of the codebook, the error of
the reconstructions by depth, the scale of the features, and a temperature for
the soft targets.

With --out, both also write the report as a page with pictures, report.html, and
all figures as report.json.
"""

import functools

from absl import flags
from etils import epath

from rq_jax import config as config_lib
from rq_jax.cli import command
from rq_jax.cli import config_flag
from rq_jax.config import reading
from rq_jax.config import sections
from rq_jax.config import source_table


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  command.define_path(
      'data',
      None,
      'Folder of images. With --tokenizer: images to encode, instead of those'
      ' it was trained on.',
      values,
  )
  flags.DEFINE_enum(
      'source',
      None,
      [n for n, row in source_table.SOURCES.items() if 'image' in row.provides],
      'How to read --data. By default, its files decide.',
      flag_values=values,
  )
  command.define_path(
      'tokenizer',
      None,
      'Workdir of a trained RQ-VAE, or a converted checkpoint.',
      values,
  )
  command.define_path(
      'out', None, 'Folder for report.html and report.json.', values
  )
  flags.DEFINE_integer(
      'num_images',
      None,
      'Inspects at most this many images of each split, evenly spaced. By'
      ' default, all images of --data, or 1,000 with --tokenizer.',
      lower_bound=1,
      flag_values=values,
  )
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and inspects; returns the exit code."""
  argv, changes = config_flag.split(argv)
  return command.run(
      _define_flags(), argv, __doc__, functools.partial(_inspect, changes)
  )


def _inspect(changes: config_flag.Changes, values: flags.FlagValues) -> None:
  if values.data is None and values.tokenizer is None:
    raise ValueError('--data or --tokenizer must be given. See --help.')
  command.refuse(values, 'source', unless=values.data is not None)
  data = _data(changes, values)
  from rq_jax.jobs.inspect import job

  options = dict(num_images=values.num_images, out=values.out)
  if values.tokenizer is None:
    job.inspect_data(data, **options)
  else:
    job.inspect_tokenizer(values.tokenizer, data, **options)


def _data(
    changes: config_flag.Changes, values: flags.FlagValues
) -> sections.Data:
  """The section `data` of the tokenizer's run or of defaults, as changed."""
  for name, _ in changes:
    if not name.startswith('data.'):
      raise ValueError(
          f'--config.{name} has no meaning here, because only fields of'
          ' config.data are read. Leave it out.'
      )
  if values.tokenizer is None:
    config = config_lib.template(stage=1)
  else:
    from rq_jax.checkpoints import stored

    stored.read_rqvae(values.tokenizer)  # An error if it is no RQ-VAE.
    config = reading.read(values.tokenizer, flag='--tokenizer')
  if values.data is not None:
    from rq_jax.jobs.inspect import detection

    config.data.path = values.data
    config.data.source = values.source or detection.source_of(values.data)
  data = config_lib.parse(config_flag.changed(config, changes)).data
  if source_table.SOURCES[data.source].needs_path:
    _check_path(data.path, values)
  return data


def _check_path(path: str | None, values: flags.FlagValues) -> None:
  """Checks that the images of a tokenizer's run are still there."""
  if path is None:
    raise ValueError(
        f'{values.tokenizer} does not record the images it was trained on. Give'
        ' --data=FOLDER.'
    )
  if not epath.Path(path).exists():
    raise ValueError(
        f'{values.tokenizer} was trained on {path}, which does not exist here.'
        ' Give --data=FOLDER.'
    )
