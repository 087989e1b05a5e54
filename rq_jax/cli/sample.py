r"""Draws images with a trained model.

  python -m rq_jax sample --checkpoint=runs/digits/rqtransformer \
      --num_images=100 --labels=0,1,2 --out=samples/

Writes one PNG for each image and `grid.png`, all of them together. Image i
depends on the checkpoint, --seed, i and its label alone.
"""

from absl import flags

from rq_jax.cli import command


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  flags.DEFINE_string(
      'checkpoint',
      None,
      'Workdir of a trained RQ-Transformer, or a converted checkpoint.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'num_images', 16, 'How many to draw.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_list(
      'labels',
      None,
      'Classes, drawn in turn; all of them by default.',
      flag_values=values,
  )
  flags.DEFINE_string('out', None, 'Folder of the images.', flag_values=values)
  flags.DEFINE_integer('seed', 0, 'All draws derive from it.',
                               flag_values=values)  # fmt: skip
  _define_drawing(values)
  return values


def _define_drawing(values: flags.FlagValues) -> None:
  """Flags that change what is drawn, and how it is computed."""
  flags.DEFINE_multi_float(
      'temperature',
      [1.0],
      'Divides the logits; repeat it for one value for each depth.',
      flag_values=values,
  )
  flags.DEFINE_multi_integer(
      'top_k',
      None,
      'Keeps the k most likely codes; repeat it for each depth.',
      flag_values=values,
  )
  flags.DEFINE_multi_float(
      'top_p',
      [1.0],
      'Keeps the most likely codes of that mass; repeat it for each depth.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'chunk_size',
      100,
      'Images computed at a time.',
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
  flags.DEFINE_string(
      'tokenizer',
      None,
      'Another copy of the tokenizer; the model brings its own.',
      flag_values=values,
  )


def main(argv: list[str]) -> int:
  """Parses the flags and draws; returns the exit code."""
  return command.run(_define_flags(), argv, __doc__, _sample)


def _sample(values: flags.FlagValues) -> None:
  command.require(values, 'checkpoint', 'out')
  from rq_jax import sampling
  from rq_jax.jobs import sample

  options = sampling.Sampling(
      temperature=_one_or_many(values.temperature),
      top_k=_one_or_many(values.top_k),
      top_p=_one_or_many(values.top_p),
  )
  sampler = sampling.Sampler.restore(
      values.checkpoint,
      step=values.step,
      ema=values.ema,
      dtype=values.dtype,
      tokenizer=values.tokenizer,
  )
  labels = sample.labels_in_turn(
      sampler.prior, _parse_labels(values.labels), values.num_images
  )
  images = sample.draw(
      sampler,
      values.seed,
      num_images=values.num_images,
      labels=labels,
      sampling=options,
      chunk_size=values.chunk_size,
  )
  sample.write(values.out, images, labels)
  print(f'{len(images)} images are in {values.out}; grid.png shows them all.')


def _one_or_many(values: list | None):
  return values[0] if values and len(values) == 1 else values


def _parse_labels(texts: list[str] | None) -> list[int] | None:
  if texts is None:
    return None
  try:
    return [int(text) for text in texts]
  except ValueError as error:
    raise ValueError(
        f'--labels={",".join(texts)} must be whole numbers, such as'
        ' --labels=0,1,2.'
    ) from error
