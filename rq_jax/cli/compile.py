r"""Compiles a program for a TPU, a GPU or this CPU, and describes it.

  python -m rq_jax compile --config=configs/digits/rqtransformer.py \
      --what=train --target=v5e:2x4
  python -m rq_jax compile --config=configs/imagenet256/rqtransformer.py:1.4b \
      --what=sample --batch_size=64 --dtype=bfloat16 --target=h200
  python -m rq_jax compile --config=configs/imagenet256/rqvae.py --what=decode \
      --target=v5p:2x2x1 --json=decode.json

The device need not exist: its compiler runs on this machine. The extra aot
installs the compilers. Neither data nor weights need to exist.

The command compiles what `train`, `sample` or `encode` would run there: the
training step, the drawing of codes, the encoder, or the decoder. It prints the
memory of each device, the kernels by kind with the bytes that they move, the
collectives with their mesh axis, and what may be worth a change. These are
facts of the compiler. The time beside them is an estimate, see
docs/performance.md.

--target is a TPU slice (v5e:2x4, v5p:4x4x4, v6e:2x2, or v5p:4x4x4*2 for two),
one or several GPUs (h200, h200:8, h100:64, a100), or cpu.
"""

import functools
import os

from absl import flags

from rq_jax import config
from rq_jax.cli import command
from rq_jax.cli import config_flag
from rq_jax.cli import drawing_flags

_WHAT = ('train', 'sample', 'encode', 'decode')
# Flags that a program does not read, besides those of draws.
_UNREAD = {
    'train': ('batch_size', 'dtype', 'model_parallel'),
    'sample': (),
    'encode': ('model_parallel',),
    'decode': ('model_parallel',),
}
_DRAWS = (
    'temperature', 'top_k', 'top_p', 'guidance', 'guidance_schedule', 'kernels',
    'weights',
)  # fmt: skip


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  config_flag.define(
      values,
      'Configuration file, or folder of a run, whose experiment to use.'
      ' --config.FIELD=VALUE sets one of its fields.',
  )
  flags.DEFINE_enum(
      'what', None, _WHAT, 'The program to compile.', flag_values=values
  )
  flags.DEFINE_string(
      'target', None, 'Devices to compile for, see above.', flag_values=values
  )
  flags.DEFINE_integer(
      'batch_size',
      None,
      'Images that all devices handle together; by default those of a chunk of'
      ' `sample`, or for encode those of a training batch. For train, set'
      ' --config.data.batch_size.',
      lower_bound=1,
      flag_values=values,
  )
  flags.DEFINE_enum(
      'dtype',
      None,
      ['float32', 'bfloat16'],
      'Type of parameters and computation, as of `sample`; by default the type'
      ' of training. For train, set --config.model.dtype.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'model_parallel',
      None,
      'For sample: number of devices that share the weights of one model.',
      lower_bound=1,
      flag_values=values,
  )
  drawing_flags.define(values)
  drawing_flags.define_kernels(values)
  command.define_path(
      'json', None, 'File to which the description is written as JSON.', values
  )
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and compiles; returns the exit code."""
  argv, changes = config_flag.split(argv)
  return command.run(
      _define_flags(),
      argv,
      __doc__,
      functools.partial(_compile, changes),
      more_help=functools.partial(config_flag.list_fields, changes),
  )


def _compile(changes: config_flag.Changes, values: flags.FlagValues) -> None:
  command.require(values, 'config', 'what', 'target')
  unread = _UNREAD[values.what] + (_DRAWS if values.what != 'sample' else ())
  for name in unread:
    command.refuse(values, name, unless=False)
  # Before JAX starts: nothing runs on a device of this machine.
  os.environ['JAX_PLATFORMS'] = 'cpu'
  from rq_jax.training import inherit

  raw = config_flag.read(values.config, changes)
  raw, _ = inherit.complete(raw, with_data=False)
  experiment = config.check(raw, with_data=False)
  from rq_jax.jobs.compile import job
  from rq_jax.jobs.compile import programs
  from rq_jax.sampling import Sampling

  job.run(
      experiment,
      what=values.what,
      target=values.target,
      options=programs.Options(
          batch=values.batch_size,
          sampling=Sampling(**drawing_flags.options(values)),
          dtype=values.dtype,
          model_parallel=values.model_parallel or 1,
          **drawing_flags.computing(values),
          path=values.config,
      ),
      json_file=values.json,
  )
