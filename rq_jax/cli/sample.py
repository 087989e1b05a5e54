r"""Draws images with a trained model.

  python -m rq_jax sample --checkpoint=runs/digits/rqtransformer \
      --num_images=100 --labels=0,1,2 --out=samples/
  python -m rq_jax sample --checkpoint=checkpoints/imagenet_1.4b \
      --num_images=50000 --format=npz --out=samples/

Writes one PNG for each image, or archives of many, and `grid.png`, the first
100 together. Image i depends only on the checkpoint, --seed, i and its label or
text, not on how many images are drawn.

Run the same command again to go on after an interruption: what is finished is
not drawn again, and the files become those of an undisturbed run. Exit codes: 0
finished; 75 interrupted and resumable; 1 an error.
"""

from absl import flags

from rq_jax import config
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
  command.define_path('out', None, 'Folder of the images.', values)
  flags.DEFINE_enum(
      'format',
      'png',
      ['png', 'shards', 'npz'],
      'A PNG file for each image; .npz files of --shard_size images; or one'
      ' samples.npz, as the evaluator of ADM reads it.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'shard_size',
      10_000,
      'Images in a file of --format=shards.',
      lower_bound=1,
      flag_values=values,
  )
  _define_conditions(values)
  drawing_flags.define(values)
  _define_computing(values)
  distributed_flags.define(values)
  return values


def _define_conditions(values: flags.FlagValues) -> None:
  """Flags that say what is drawn."""
  flags.DEFINE_integer(
      'num_images',
      None,
      'How many to draw; 16 by default, or one for each text.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_list(
      'labels',
      None,
      'Classes, drawn in turn; all of them by default.',
      flag_values=values,
  )
  command.define_path(
      'prompts', None, 'File of texts, one a line, drawn in turn.', values
  )
  command.define_path(
      'tokens', None, 'The same as token ids: a .npy file of int[N, L].', values
  )
  flags.DEFINE_integer('seed', 0, 'All draws derive from it; in [0, 2**32).',
                               flag_values=values)  # fmt: skip


def _define_computing(values: flags.FlagValues) -> None:
  """Flags that say with what, and where, it is computed."""
  flags.DEFINE_integer(
      'chunk_size',
      None,
      'Images that the devices of a process draw together; by default 100, or a'
      ' few more that they can split evenly.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_integer(
      'model_parallel',
      1,
      'Devices that share the weights of one model; the others split a chunk.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_integer(
      'step', None, 'Checkpoint; the newest by default.', flag_values=values
  )
  flags.DEFINE_bool(
      'ema', True, 'Whether to take averaged parameters.', flag_values=values
  )
  flags.DEFINE_enum(
      'dtype',
      None,
      ['float32', 'bfloat16'],
      'Of parameters and computation; as trained by default.',
      flag_values=values,
  )
  command.define_path(
      'tokenizer',
      None,
      'Another copy of the tokenizer; the model brings its own.',
      values,
  )
  command.define_path(
      'text_tokenizer',
      None,
      'File of the tokenizers library that turns --prompts into tokens; the'
      ' text_tokenizer.json of --checkpoint by default.',
      values,
  )


def main(argv: list[str]) -> int:
  """Parses the flags and draws; returns the exit code."""
  return command.run(_define_flags(), argv, __doc__, _sample, resumable=True)


def _sample(values: flags.FlagValues) -> None:
  command.require(values, 'checkpoint', 'out')
  config.check_seed(values.seed)
  kind = _kind(values)
  from rq_jax import sampling
  from rq_jax.distributed import console
  from rq_jax.jobs.sample import conditions
  from rq_jax.jobs.sample import drawing
  from rq_jax.jobs.sample import job

  options = sampling.Sampling(**drawing_flags.options(values))
  readers = {
      'labels': _parse_labels,
      'prompts': conditions.read_prompts,
      'tokens': conditions.read_tokens,
  }
  given = readers[kind](values[kind].value) if kind else None
  distributed_flags.join(values)
  chunk_size = values.chunk_size
  if chunk_size is None:
    chunk_size = drawing.default_chunk_size(values.model_parallel)
  sampler, origin = drawing.restore(
      values.checkpoint,
      chunk_size=chunk_size,
      model_parallel=values.model_parallel,
      step=values.step,
      ema=values.ema,
      dtype=values.dtype,
      tokenizer=values.tokenizer,
      text_tokenizer=values.text_tokenizer,
  )
  chosen = conditions.choose(
      sampler.prior, kind=kind, values=given, num_images=values.num_images
  )
  sentence = job.sample(
      drawing.Drawing(
          sampler=sampler,
          conditions=chosen,
          seed=values.seed,
          sampling=options,
          chunk_size=chunk_size,
      ),
      values.out,
      origin=origin,
      format=values.format,
      shard_size=values.shard_size,
  )
  console.tell(sentence)


def _kind(values: flags.FlagValues) -> str | None:
  """Which condition is given, if any."""
  names = ('labels', 'prompts', 'tokens')
  given = [name for name in names if values[name].value is not None]
  if len(given) > 1:
    raise ValueError(
        f'{" and ".join(f"--{name}" for name in given)} exclude each other:'
        ' give one of them.'
    )
  return given[0] if given else None


def _parse_labels(texts: list[str]) -> list[int]:
  try:
    return [int(text) for text in texts]
  except ValueError as error:
    raise ValueError(
        f'--labels={",".join(texts)} must be whole numbers, such as'
        ' --labels=0,1,2.'
    ) from error
