r"""Times sampling, training steps, the loading of data, and their parts.

  python -m rq_jax benchmark sampling --batch_size=1,8,64,500 \
      --config=configs/imagenet256/rqtransformer.py:1.4b
  python -m rq_jax benchmark sampling --batch_size=8 --top_p=0.92 \
      --checkpoint=runs/digits/rqtransformer
  python -m rq_jax benchmark sampling --figure4 --size=small --batch_size=4

`sampling` draws images on one device, with random weights for the experiment
--config or with the weights of --checkpoint. For each batch size it prints:

  - milliseconds per image, for the autoregression and for decoding;
  - CPU seconds of all threads, seconds to compile, and peak memory;
  - for each kind of work, the minimum time at the chip's peak, as a share of
    the measured time;
  - the time of only the matrix products, in one program.

The peak comes from a table of chips; for other devices, such as CPUs, it is
measured in the run. Each time is the median of --repeats calls, after one call
that compiles. A line of JSON per batch holds all numbers.

--figure4 compares code maps of 8x8x4 with those of 16x16x1, as Figure 4 of the
paper does. There, on an A100, 8x8x4 is 4.2 times as fast at batch 100 and 5.6
times at batch 200.

  python -m rq_jax benchmark training --batch_size=16,32 --dtype=bfloat16 \
      --config=configs/imagenet256/rqvae.py

`training` takes steps of the experiment --config on all devices of this
machine, with random data and networks. It is the step that `train` compiles.
For each batch size it prints the seconds of a step, images per second, seconds
to compile, peak memory, and the share of the chip's peak.

  python -m rq_jax benchmark data --config=configs/imagenet256/rqvae.py \
      --config.data.path=data/imagenet --workers=0,2,4

`data` loads images as training does. It prints the images per second from disk
to batch for each number of worker processes. Beside them are those of a loop
that only reads, decodes and crops the same images, and those that the model
consumes on several chips.

  python -m rq_jax benchmark filters
  python -m rq_jax benchmark precision --checkpoint=runs/digits/rqtransformer
  python -m rq_jax benchmark constants
  python -m rq_jax benchmark device --out=device.json

`filters` times top-k and top-p on 16384 codes against sorting. `precision`
compares a generator in bfloat16 with itself in float32: divergence by depth,
changed codes and changed pixels. `constants` measures how much of a device's
peak is reached, to predict run times. `device` is launch/device_check.sh.
"""

from collections.abc import Callable
import functools

from absl import flags

from rq_jax import config as config_lib
from rq_jax.cli import benchmark_flags
from rq_jax.cli import command
from rq_jax.cli import config_flag
from rq_jax.cli import drawing_flags
from rq_jax.distributed import console

KINDS = (
    'sampling',
    'training',
    'filters',
    'precision',
    'constants',
    'data',
    'device',
)
# Flags that each benchmark reads. `sampling` reads all except _OTHERS.
_OTHERS = {'num_images', 'workers', *benchmark_flags.DEVICE}
_READ = {
    'data': {'config', 'workers', 'num_images', 'repeats', 'jsonl'},
    'training': {'config', 'batch_size', 'dtype', 'repeats', 'jsonl'},
    'filters': {'batch_size', 'repeats'},
    'precision': {'checkpoint', 'num_images'},
    'constants': {'dtype', 'repeats'},
    'device': set(benchmark_flags.DEVICE),
}
# Benchmarks of an experiment.
_CONFIGURED = ('sampling', 'training', 'data')


def main(argv: list[str]) -> int:
  """Parses the benchmark and its flags, and runs it; returns the exit code."""
  name, *rest = argv
  kind = rest.pop(0) if rest and not rest[0].startswith('-') else None
  argv, changes = config_flag.split([name, *rest])
  time = functools.partial(_time, kind, changes)
  fields = functools.partial(config_flag.list_fields, changes)
  return command.run(
      benchmark_flags.define(), argv, __doc__, time, more_help=fields
  )


def _time(
    kind: str | None, changes: config_flag.Changes, values: flags.FlagValues
) -> None:
  if kind not in KINDS:
    given = f'There is no benchmark {kind}' if kind else 'No benchmark is given'
    raise ValueError(
        f'{given}. Give one of {", ".join(KINDS)}, such as: python -m rq_jax'
        f' benchmark {KINDS[0]}. See --help.'
    )
  if changes and (kind not in _CONFIGURED or values.config is None):
    raise ValueError(
        f'--config.{changes[0][0]} has no meaning here, because it sets a field'
        ' of --config, which is not used. Leave it out.'
    )
  read = _READ.get(kind, set(values) - _OTHERS)
  for name in values:
    if values[name].present and name not in read:
      command.refuse(values, name, unless=False)
  kinds = {
      'sampling': functools.partial(_sampling, changes),
      'training': functools.partial(_training, changes),
      'filters': _filters,
      'precision': _precision,
      'constants': _constants,
      'data': functools.partial(_data, changes),
      'device': _device,
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


def _device(values: flags.FlagValues) -> None:
  command.require(values, 'out')
  from rq_jax.jobs.benchmark.device import job

  job.run(values.out, small=values.small, minutes=values.minutes)


def _data(changes: config_flag.Changes, values: flags.FlagValues) -> None:
  command.require(values, 'config')
  workers = _whole_numbers('workers', values.workers or ['0'], least=0)
  experiment = config_lib.check(
      config_flag.read(values.config, changes), with_data=False
  )
  from rq_jax.jobs.benchmark import loading

  loading.run(
      experiment,
      workers=workers,
      num_images=values.num_images,
      repeats=values.repeats,
      jsonl=values.jsonl,
  )


def _training(changes: config_flag.Changes, values: flags.FlagValues) -> None:
  command.require(values, 'config')
  if values.dtype:
    changes += (('model.dtype', values.dtype),)
  batches = [()]
  if values.batch_size:
    sizes = _batch_sizes(values, '')
    batches = [(('data.batch_size', str(size)),) for size in sizes]
  experiments = [
      config_lib.check(
          config_flag.read(values.config, changes + batch), with_data=False
      )
      for batch in batches
  ]
  from rq_jax.jobs.benchmark import training_steps

  training_steps.run(
      values.config, experiments, repeats=values.repeats, jsonl=values.jsonl
  )


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
  import jax  # Slow, so it comes after the checks.

  from rq_jax import sampling
  from rq_jax.jobs.benchmark import figure4
  from rq_jax.jobs.benchmark import measured
  from rq_jax.jobs.benchmark import sampling_times
  from rq_jax.sampling.kernels import choice

  options = measured.Options(
      batch_sizes=batch_sizes,
      sampling=sampling.Sampling(**drawing_flags.options(values)),
      repeats=values.repeats,
      decode=not values.skip_decoding,
      **drawing_flags.computing(values),
  )
  choice.check_devices(options.kernels, jax.local_devices()[:1])
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
  """The RQ-Transformer of --config; the rest of the experiment is not used."""
  prior = config_lib.parse_model(config_flag.read(path, changes))
  if not isinstance(prior, config_lib.RQTransformerConfig):
    raise ValueError(
        f'--config={path} describes an RQ-VAE. Give the file of an'
        ' RQ-Transformer.'
    )
  return prior


def _models(
    values: flags.FlagValues,
    prior: config_lib.RQTransformerConfig | None,
    drawing,
    dtype: str,
) -> dict[str, Callable]:
  """Functions that make the samplers, by name; checks that they can draw."""
  from rq_jax import sampling
  from rq_jax.jobs import stand_in
  from rq_jax.jobs.benchmark import figure4
  from rq_jax.jobs.benchmark import sampling_times

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
  return _whole_numbers('batch_size', texts, least=1)


def _whole_numbers(name: str, texts: list[str], *, least: int) -> list[int]:
  if not all(text.isdecimal() and int(text) >= least for text in texts):
    raise ValueError(
        f'--{name}={",".join(texts)} must be whole numbers of at least {least},'
        f' such as --{name}={least},8,64.'
    )
  return [int(text) for text in texts]
