r"""Prepares a downloaded dataset for training, in the format of TFDS.

  python -m rq_jax prepare --from=folder --src=photos --out=data/photos
  python -m rq_jax prepare --from=imagenet --src=downloads --out=data/imagenet

The command checks that every image can be read, and stores the bytes of the
files in ArrayRecord shards. To train from them, set --config.data.source=tfds
and --config.data.path to the folder. TFDS can open the folder, too.

To resume after an interruption, run the same command again: finished shards are
kept. Exit codes: 0 finished; 75 interrupted and resumable; 1 an error.
"""

import os

from absl import flags

from rq_jax.cli import command
from rq_jax.cli import distributed_flags
from rq_jax.config import sections
from rq_jax.jobs.prepare import origins


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  flags.DEFINE_enum(
      'from',
      None,
      list(origins.KINDS),
      'Kind of --src. folder: a folder of images. imagenet: the folder of the'
      ' archives of ILSVRC2012. lsun: a category of LSUN, such as lsun/bedroom.'
      ' webdataset: a folder of tar files, as img2dataset writes them.',
      flag_values=values,
  )
  command.define_path('src', None, 'The dataset as downloaded.', values)
  command.define_path('out', None, 'Folder for the prepared dataset.', values)
  command.define_path(
      'devkit',
      None,
      'With --from=imagenet: ILSVRC2012_devkit_t12.tar.gz or its folder, if it'
      ' is not in --src.',
      values,
  )
  flags.DEFINE_integer(
      'resize',
      None,
      'Reduces large images so that their short side has this length in pixels.'
      ' They are encoded again, as JPEG of quality 95, or as PNG if they were'
      ' PNG files. Smaller images keep their bytes.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_enum(
      'on_error',
      'fail',
      ['fail', 'skip'],
      'What happens to images that cannot be read. fail: the command stops with'
      ' an error. skip: they are left out, and refused.jsonl lists them.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'max_pixels',
      sections.DEFAULT_MAX_PIXELS,
      'Images with more pixels (width times height) count as unreadable.',
      lower_bound=1,
      upper_bound=sections.PILLOW_MAX_PIXELS,
      flag_values=values,
  )
  flags.DEFINE_integer(
      'workers',
      None,
      'Threads that check images. The default is one per core.',
      lower_bound=1,
      flag_values=values,
  )
  distributed_flags.define(values)
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and prepares; returns the exit code."""
  return command.run(_define_flags(), argv, __doc__, _prepare, resumable=True)


def _prepare(values: flags.FlagValues) -> None:
  command.require(values, 'from', 'src', 'out')
  kind = str(values['from'].value)
  command.refuse(values, 'devkit', unless=kind == 'imagenet')
  import jax

  # No accelerator is needed, and another program may use it.
  jax.config.update('jax_platforms', 'cpu')
  distributed_flags.join(values)
  from rq_jax.distributed import console
  from rq_jax.jobs.prepare import job

  _check_apart(values.src, values.out)
  options = {} if kind != 'imagenet' else {'devkit': values.devkit}
  console.tell(
      job.run(
          origins.open_splits(kind, values.src, **options),
          values.out,
          name=kind,
          src=values.src,
          options=job.Options(
              resize=values.resize,
              skip=values.on_error == 'skip',
              max_pixels=values.max_pixels,
              workers=values.workers,
          ),
      )
  )


def _check_apart(src: str, out: str) -> None:
  """Refuses to write among the files of the source."""
  source, target = os.path.realpath(src), os.path.realpath(out)
  if os.path.commonpath([source, target]) == source:
    raise ValueError(
        f'--out={out} lies in --src={src}, so its files would mix with those of'
        ' the dataset. Choose a folder outside --src for --out.'
    )
