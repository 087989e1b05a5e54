"""Compares estimates with measured CPU time, in five cases.

  PYTHONPATH=. JAX_PLATFORMS=cpu python docs/estimate_figures.py
  PYTHONPATH=. JAX_PLATFORMS=cpu python docs/estimate_figures.py sample_8

The cases are drawing 1, 8 and 32 images, and a training step of each stage, in
float32. The models are those of the comparison with the official code: an
RQ-Transformer of width 512 with 8 and 4 layers and an RQ-VAE of 64 channels,
both with batches of 8. It takes about ten minutes on two cores. All times are
CPU seconds over all threads, the least of four calls.
"""

import contextlib
import sys

import jax

from rq_jax import config as config_lib
from rq_jax import huge_pages
from rq_jax.cli import config_flag
from rq_jax.distributed import partitioning
from rq_jax.jobs import stand_in
from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import training_steps
from rq_jax.jobs.compile import cpu_rates
from rq_jax.jobs.compile import programs
from rq_jax.jobs.compile import report
from rq_jax.jobs.compile import targets

PRIOR = (
    'configs/benchmark/rqtransformer.py:small-f32-d4-k1024',
    ('model.spatial_layers', '8'),
    ('model.depth_layers', '4'),
    ('model.dtype', 'float32'),
    ('data.batch_size', '8'),
    ('data.path', 'unused'),
    ('tokenizer', 'unused'),
)
RQVAE = (
    'configs/benchmark/rqvae.py:f32-d4-k16384',
    ('data.image_size', '64'),
    ('data.batch_size', '8'),
    ('data.path', 'unused'),
    ('model.image_size', '64'),
    ('model.channels', '64'),
    ('model.channel_multipliers', '(1, 2, 2, 4)'),
    ('model.codebook_size', '1024'),
    ('model.dtype', 'float32'),
    ('loss.adversarial_weight', '0'),
    ('loss.perceptual_weight', '0'),
)
_CALLS = 4


def _load(path, *changes):
  raw = config_flag.read(path, changes)
  return config_lib.check(raw, with_data=False)


def _sampling(target, batch: int):
  """The program of a batch, and a function that draws it."""
  config = _load(*PRIOR)
  options = programs.Options(batch=batch, dtype='float32')
  tokenizer = stand_in.find_tokenizer(config.model)
  sampler = stand_in.sampler(config.model, tokenizer, 'float32')
  condition = stand_in.condition_of(sampler.prior, batch)
  key = jax.random.key(0)
  return (
      programs.sample(config, target.devices, options),
      lambda: sampler.codes(key, **condition),
  )


def _training(target, experiment):
  """The program of a training step, and a function that takes one."""
  config = _load(*experiment)
  program = programs.train(config, target.devices)
  # Progress is no part of the table.
  with (
      partitioning.activate(program.mesh),
      contextlib.redirect_stdout(sys.stderr),
  ):
    prepared = training_steps.prepare(config, program.mesh)

  def step():
    with partitioning.activate(program.mesh):
      return prepared.take()

  return program, step


CASES = {
    'sample_1': lambda target: _sampling(target, 1),
    'sample_8': lambda target: _sampling(target, 8),
    'sample_32': lambda target: _sampling(target, 32),
    'train_rqtransformer': lambda target: _training(target, PRIOR),
    'train_rqvae': lambda target: _training(target, RQVAE),
}


def main() -> None:
  """Prints a row of the table for each case, or for those that are named."""
  target = targets.find('cpu')
  rates = cpu_rates.measure(repeats=3)
  print(rates)
  print(
      '| case | estimate, CPU s | measured, CPU s | ratio |\n|---|---|---|---|'
  )
  for name in sys.argv[1:] or CASES:
    program, run = CASES[name](target)
    estimated = report.make(program, target, rates)['estimate']['total']
    measured = min(timing.measure(run, _CALLS).cpu_seconds)
    ratio = estimated / measured
    print(f'| {name} | {estimated:.2f} | {measured:.2f} | {ratio:.2f} |')


if __name__ == '__main__':
  huge_pages.start_again()  # As commands do.
  main()
