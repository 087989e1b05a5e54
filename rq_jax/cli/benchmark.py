r"""Times what the models do, beside the least time that a chip could take.

  python -m rq_jax benchmark sampling --batch_size=1,8,64,500 \
      --config=configs/imagenet256/rqtransformer.py:1.4b
  python -m rq_jax benchmark sampling --batch_size=8 --top_p=0.92 \
      --checkpoint=runs/digits/rqtransformer
  python -m rq_jax benchmark sampling --figure4 --size=small --batch_size=4

`sampling` draws images with random weights of the experiment --config, or with
those of --checkpoint, on one device. For each size of the batch it prints
milliseconds per image, of the autoregression and of decoding apart; CPU seconds
of all threads, seconds to compile, and the peak of the memory; the share of the
time that each kind of work would take at the peak of the chip; and the time of
the matrix products alone, in one program. The peak is that of a table of chips,
or else measured in the run, as on CPUs. Each number is the median of --repeats
calls after one that compiles. A line of JSON for each batch holds all of it.

--figure4 compares maps of 8x8x4 codes with those of 16x16x1, as Figure 4 of the
paper does on an A100: 4.2 times as fast at batch 100, 5.6 times at 200.

  python -m rq_jax benchmark filters
  python -m rq_jax benchmark precision --checkpoint=runs/digits/rqtransformer
  python -m rq_jax benchmark constants

`filters` times top-k and top-p against sorting, of 16384 codes. `precision`
shows what bfloat16 changes of a generator: divergence by depth, codes that
become others, pixels. `constants` measures how far a device falls short of its
peaks: what a prediction of the time has to assume.
"""

from collections.abc import Callable
import functools

from absl import flags

from rq_jax import config as config_lib
from rq_jax.cli import command
from rq_jax.cli import config_flag
from rq_jax.cli import drawing_flags
from rq_jax.distributed import console

KINDS = ('sampling', 'filters', 'precision', 'constants')
# Flags that each kind reads; `sampling` reads all but --num_images.
_READ = {
    'filters': {'batch_size', 'repeats'},
    'precision': {'checkpoint', 'num_images'},
    'constants': {'dtype', 'repeats'},
}
_SIZES = ('small', 'medium', 'large', 'huge')


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  config_flag.define(
      values,
      'File of the stage-2 experiment, whose model gets random weights;'
      ' --config.FIELD=VALUE sets one of its fields.',
  )
  command.define_path(
      'checkpoint',
      None,
      'Workdir of a trained RQ-Transformer, or a converted checkpoint; instead'
      ' of --config.',
      values,
  )
  command.define_path(
      'tokenizer_config',
      None,
      'With --config: file of the stage-1 experiment. By default the rqvae.py'
      ' beside --config, if its codes are those of the model, else an RQ-VAE of'
      ' 256 pixels that makes such codes.',
      values,
  )
  drawing_flags.define(values)
  _define_measuring(values)
  return values


def _define_measuring(values: flags.FlagValues) -> None:
  """Flags that tell what to measure, and where to write it."""
  flags.DEFINE_enum(
      'dtype',
      None,
      ['float32', 'bfloat16'],
      'Of weights and computation; float32 on CPUs by default, else bfloat16.',
      flag_values=values,
  )
  flags.DEFINE_list(
      'batch_size',
      None,
      'Images drawn at once, one or several numbers; 1,8,64 by default,'
      ' 100,200 with --figure4, and 4 rows of logits for filters.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'repeats', 3, 'Calls to time.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_integer(
      'num_images',
      256,
      'Of precision: how many to compare, rounded up to chunks of 16.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_bool(
      'skip_decoding',
      False,
      'Draw only codes, and decode no images.',
      flag_values=values,
  )
  command.define_path(
      'jsonl',
      None,
      'File to append the lines of JSON to, besides printing them.',
      values,
  )
  flags.DEFINE_bool(
      'figure4',
      False,
      'Compare shapes of code maps, instead of timing one model.',
      flag_values=values,
  )
  flags.DEFINE_enum(
      'size',
      None,
      _SIZES,
      'With --figure4: of the models; huge, as in the paper, by default.',
      flag_values=values,
  )


def main(argv: list[str]) -> int:
  """Parses what to time and the flags, and times; returns the exit code."""
  name, *rest = argv
  kind = rest.pop(0) if rest and not rest[0].startswith('-') else None
  argv, changes = config_flag.split([name, *rest])
  time = functools.partial(_time, kind, changes)
  fields = functools.partial(config_flag.list_fields, changes)
  return command.run(_define_flags(), argv, __doc__, time, more_help=fields)


def _time(
    kind: str | None, changes: config_flag.Changes, values: flags.FlagValues
) -> None:
  if kind not in KINDS:
    given = f'{kind} is nothing to time' if kind else 'Nothing is said to time'
    raise ValueError(
        f'{given}: python -m rq_jax benchmark {KINDS[0]}, or'
        f' {", ".join(KINDS[1:])}; see --help.'
    )
  if changes and (kind != 'sampling' or values.config is None):
    raise ValueError(
        f'--config.{changes[0][0]} has no meaning here, as it changes a field'
        ' of --config. Leave it out.'
    )
  read = _READ.get(kind, set(values) - {'num_images'})
  for name in values:
    if values[name].present and name not in read:
      command.refuse(values, name, unless=False)
  kinds = {
      'sampling': functools.partial(_sampling, changes),
      'filters': _filters,
      'precision': _precision,
      'constants': _constants,
  }
  kinds[kind](values)


def _filters(values: flags.FlagValues) -> None:
  from rq_jax.jobs.benchmark import filters

  for batch in _batch_sizes(values, '4'):
    console.tell(
        filters.table(filters.run(16384, batch, values.repeats), batch)
    )


def _precision(values: flags.FlagValues) -> None:
  command.require(values, 'checkpoint')
  from rq_jax import sampling
  from rq_jax.jobs.benchmark import precision

  found = precision.compare(
      lambda dtype: sampling.Sampler.restore(
          values.checkpoint, dtype=dtype, verbose=False
      ),
      num_images=values.num_images,
  )
  console.tell(precision.table(found))


def _constants(values: flags.FlagValues) -> None:
  from rq_jax.jobs.benchmark import constants

  console.tell(constants.table(constants.run(values.dtype, values.repeats)))


def _sampling(changes: config_flag.Changes, values: flags.FlagValues) -> None:
  chosen = [n for n in ('config', 'checkpoint', 'figure4') if values[n].value]
  if len(chosen) != 1:
    raise ValueError(
        'Exactly one of --config, --checkpoint and --figure4 must be given.'
    )
  command.refuse(values, 'tokenizer_config', unless=chosen == ['config'])
  command.refuse(values, 'size', unless=chosen == ['figure4'])
  default = '100,200' if values.figure4 else '1,8,64'
  batch_sizes = _batch_sizes(values, default)
  prior = _prior(values.config, changes) if chosen == ['config'] else None
  from rq_jax import sampling  # After the checks: a typo should not wait.
  from rq_jax.jobs.benchmark import figure4
  from rq_jax.jobs.benchmark import measured
  from rq_jax.jobs.benchmark import sampling_times

  options = measured.Options(
      batch_sizes=batch_sizes,
      sampling=sampling.Sampling(**drawing_flags.options(values)),
      repeats=values.repeats,
      decode=not values.skip_decoding,
  )
  dtype = values.dtype or sampling_times.default_dtype()
  summary = {'summary': figure4.tables} if values.figure4 else {}
  sampling_times.run(
      _models(values, prior, options.sampling, dtype),
      options,
      dtype=dtype,
      jsonl=values.jsonl,
      **summary,
  )


def _prior(
    path: str, changes: config_flag.Changes
) -> config_lib.RQTransformerConfig:
  """The RQ-Transformer of --config; nothing else of the experiment counts."""
  prior = config_lib.parse_model(config_flag.read(path, changes))
  if not isinstance(prior, config_lib.RQTransformerConfig):
    raise ValueError(f'--config={path} is an RQ-VAE; give an RQ-Transformer.')
  return prior


def _models(
    values: flags.FlagValues,
    prior: config_lib.RQTransformerConfig | None,
    drawing,
    dtype: str,
) -> dict[str, Callable]:
  """What makes the samplers to time, by name; checks that they can draw so."""
  from rq_jax import sampling
  from rq_jax.jobs.benchmark import figure4
  from rq_jax.jobs.benchmark import sampling_times
  from rq_jax.jobs.benchmark import stand_in

  if values.checkpoint:
    restore = functools.partial(
        sampling.Sampler.restore, values.checkpoint, dtype=dtype, verbose=False
    )
    return {values.checkpoint: restore}
  path = values.config
  priors = {path: prior} if prior else figure4.models(values.size or 'huge')
  for prior in priors.values():
    sampling_times.check(prior, drawing)
  return {
      name: functools.partial(
          stand_in.sampler,
          prior,
          stand_in.load_tokenizer(values.tokenizer_config, prior)
          if values.tokenizer_config
          else stand_in.find_tokenizer(prior, path),
          dtype,
      )
      for name, prior in priors.items()
  }


def _batch_sizes(values: flags.FlagValues, default: str) -> list[int]:
  texts = values.batch_size or default.split(',')
  if not all(text.isdecimal() and int(text) for text in texts):
    raise ValueError(
        f'--batch_size={",".join(texts)} must be whole numbers of at least 1,'
        ' such as --batch_size=1,8,64.'
    )
  return [int(text) for text in texts]
