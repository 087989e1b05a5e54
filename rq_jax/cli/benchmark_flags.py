"""The flags of `python -m rq_jax benchmark`."""

from absl import flags

from rq_jax.cli import command
from rq_jax.cli import config_flag
from rq_jax.cli import drawing_flags

# Flags that only `benchmark device` reads.
DEVICE = ('out', 'small', 'minutes')
_SIZES = ('small', 'medium', 'large', 'huge')


def define() -> flags.FlagValues:
  """Defines the flags of all benchmarks."""
  values = command.new_flags()
  config_flag.define(
      values,
      'Configuration file of an RQ-Transformer, which gets random weights; for'
      ' training and data, of any experiment. --config.FIELD=VALUE sets one of'
      ' its fields.',
  )
  command.define_path(
      'checkpoint',
      None,
      'Workdir of a trained RQ-Transformer, or a converted checkpoint; in place'
      ' of --config.',
      values,
  )
  command.define_path(
      'tokenizer_config',
      None,
      'With --config: configuration file of an RQ-VAE. By default, the rqvae.py'
      ' beside --config if its codes fit the model, and otherwise an RQ-VAE for'
      ' 256 pixels that makes such codes.',
      values,
  )
  drawing_flags.define(values)
  drawing_flags.define_kernels(values)
  _define_measuring(values)
  return values


def _define_measuring(values: flags.FlagValues) -> None:
  """Defines the flags for the measurements and their output."""
  flags.DEFINE_enum(
      'dtype',
      None,
      ['float32', 'bfloat16'],
      'Type of weights and computation; by default float32 on CPUs and bfloat16'
      ' on other devices. For training: type of computation; by default that of'
      ' --config.',
      flag_values=values,
  )
  flags.DEFINE_list(
      'batch_size',
      None,
      'Numbers of images drawn at once, such as 1,8,64; by default 1,8,64, or'
      ' 100,200 with --figure4. For training: images of a step; by default that'
      ' of --config. For filters: numbers of rows of logits; by default 4.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'repeats',
      3,
      'Number of timed calls.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_integer(
      'num_images',
      256,
      'For precision: number of images to compare, rounded up to a multiple of'
      ' 16. For data: number of images to load.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_list(
      'workers',
      None,
      'For data: numbers of worker processes, such as 0,2,4; by default 0,'
      ' which uses threads.',
      flag_values=values,
  )
  flags.DEFINE_bool(
      'skip_decoding',
      False,
      'Draw only codes, and do not decode images.',
      flag_values=values,
  )
  _define_output(values)


def _define_output(values: flags.FlagValues) -> None:
  """Defines the flags for the output, and for the comparison of Figure 4."""
  command.define_path(
      'jsonl',
      None,
      'File to which the lines of JSON are appended; they are also printed.',
      values,
  )
  flags.DEFINE_bool(
      'figure4',
      False,
      'Compare two shapes of code maps, in place of timing one model.',
      flag_values=values,
  )
  flags.DEFINE_enum(
      'size',
      None,
      _SIZES,
      'With --figure4: size of the models; by default huge, as in the paper.',
      flag_values=values,
  )
  _define_device(values)


def _define_device(values: flags.FlagValues) -> None:
  """Defines the flags of the device check; see `DEVICE`."""
  command.define_path(
      'out', None, 'For device: file of the results, of JSON.', values
  )
  flags.DEFINE_bool(
      'small',
      False,
      'For device: try the check with tiny models, on any device.',
      flag_values=values,
  )
  flags.DEFINE_float(
      'minutes',
      11.0,
      'For device: time after which no long case starts.',
      lower_bound=0.0,
      flag_values=values,
  )
