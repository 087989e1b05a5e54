r"""Draws images with a trained model.

  python -m rq_jax sample --checkpoint=runs/digits/rqtransformer \
      --num_images=100 --labels=0,1,2 --out=samples/
  python -m rq_jax sample --checkpoint=checkpoints/imagenet_1.4b \
      --num_images=50000 --format=npz --out=samples/

  python -m rq_jax sample --checkpoint=checkpoints/imagenet_1.4b \
      --accept=0.05 --classifier=checkpoints/resnet101 --num_images=50000 \
      --format=npz --out=samples/

Writes one PNG file per image, or archives of many images, and `grid.png` with
the first 100 images. Image i depends only on the checkpoint, --seed, i and its
label or text, not on the number of images. Converted models sample with the
options of their archive; flags replace single options.

--accept=RATE draws more images of each class, and keeps those whose class the
classifier finds most probable; accepted.json lists their indices and scores.

To resume after an interruption, run the same command again: finished images are
not drawn again, and the files have the same bytes as those of a run without
interruption. Exit codes: 0 finished; 75 interrupted and resumable; 1 an error.
"""

from typing import Any

from absl import flags

from rq_jax import config
from rq_jax.cli import classifier_flags
from rq_jax.cli import command
from rq_jax.cli import distributed_flags
from rq_jax.cli import drawing_flags


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  command.define_path(
      'checkpoint',
      None,
      'Workdir of a trained RQ-Transformer, or a converted checkpoint.',
      values,
  )
  command.define_path('out', None, 'Folder for the images.', values)
  flags.DEFINE_enum(
      'format',
      'png',
      ['png', 'shards', 'npz'],
      'png: one PNG file per image. shards: .npz files of --shard_size images.'
      ' npz: one samples.npz, which the ADM evaluator reads.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'shard_size',
      10_000,
      'With --format=shards: number of images in a file.',
      lower_bound=1,
      flag_values=values,
  )
  drawing_flags.define_conditions(values)
  drawing_flags.define(values)
  _define_rejection(values)
  _define_computing(values)
  distributed_flags.define(values)
  return values


def _define_rejection(values: flags.FlagValues) -> None:
  """Defines the flags for rejection sampling."""
  flags.DEFINE_float(
      'accept',
      None,
      'Share of the draws of each class to keep, such as 0.05; by default, all'
      ' draws are kept. Needs --classifier.',
      flag_values=values,
  )
  classifier_flags.define(
      values,
      use='With --accept: scores the draws by the log-probability of their'
      ' class.',
  )


def _define_computing(values: flags.FlagValues) -> None:
  """Defines the flags for the model, its tokenizers and the devices."""
  flags.DEFINE_integer(
      'chunk_size',
      None,
      'Number of images that the devices of a process draw together; by default'
      ' 100, rounded up so that the devices can split them evenly.',
      lower_bound=1,
      flag_values=values,
  )
  drawing_flags.define_model(values)
  command.define_path(
      'tokenizer',
      None,
      'Folder of another copy of the tokenizer; by default the copy in'
      ' --checkpoint.',
      values,
  )


def main(argv: list[str]) -> int:
  """Parses the flags and draws; returns the exit code."""
  return command.run(_define_flags(), argv, __doc__, _sample, resumable=True)


def _sample(values: flags.FlagValues) -> None:
  command.require(values, 'checkpoint', 'out')
  config.check_seed(values.seed)
  command.refuse(values, 'classifier', unless=values.accept is not None)
  command.refuse(values, 'classifier_classes', unless=values.accept is not None)
  from rq_jax.distributed import console
  from rq_jax.jobs import manifest
  from rq_jax.jobs.sample import drawing
  from rq_jax.jobs.sample import job
  from rq_jax.sampling import selection

  given = drawing_flags.given(values)
  if values.accept is not None:
    command.require(values, 'classifier')
    selection.check_rate(values.accept, '--accept')
  distributed_flags.join(values)
  manifest.check_writable(values.out, given=f'--out={values.out}')
  chunk_size = values.chunk_size
  if chunk_size is None:
    chunk_size = drawing.default_chunk_size(values.model_parallel)
  drawn, origin = drawing_flags.restore(
      values, given, chunk_size=chunk_size, tokenizer=values.tokenizer
  )
  sentence = job.sample(
      drawn,
      values.out,
      origin=origin,
      format=values.format,
      shard_size=values.shard_size,
      rejection=_rejection(values, drawn.sampler),
  )
  console.tell(sentence)


def _rejection(values: flags.FlagValues, sampler: Any) -> Any:
  """How to choose among many draws, if --accept is given."""
  if values.accept is None:
    return None
  from rq_jax.jobs.sample import rejection

  return rejection.restore(
      values.accept,
      values.classifier,
      values.classifier_classes,
      sampler=sampler,
  )
