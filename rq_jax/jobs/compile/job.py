"""Compiles a program of an experiment for a target, and prints what it is."""

from collections.abc import Iterator
import contextlib
from typing import Any, cast

import jax
from jax.experimental.compilation_cache import compilation_cache

from rq_jax import files
from rq_jax.config import Experiment
from rq_jax.config import RQTransformerExperiment
from rq_jax.config import RQVAEExperiment
from rq_jax.distributed import console
from rq_jax.jobs.compile import cpu_rates
from rq_jax.jobs.compile import estimate
from rq_jax.jobs.compile import programs
from rq_jax.jobs.compile import report
from rq_jax.jobs.compile import table
from rq_jax.jobs.compile import targets

WHAT = ('train', 'sample', 'encode', 'decode')
_REPEATS = 3  # Of the measurements of a CPU.


def run(
    config: Experiment,
    *,
    what: str,
    target: str,
    options: programs.Options,
    json_file: str | None = None,
) -> None:
  """Compiles a program, and prints its description.

  Args:
    config: A checked experiment.
    what: The program, one of `WHAT`.
    target: What to compile for; see `targets.FORMS`.
    options: How `sample`, `encode` and `decode` run.
    json_file: File for the description; None to write none.

  Raises:
    ValueError: If the experiment has no such program, the target is unknown or
      its compiler is missing, or the program does not fit the target.
    OSError: If the file cannot be written.
  """
  record = describe(config, what=what, target=target, options=options)
  console.tell(table.text(record))
  if json_file is not None:
    files.write_json(json_file, record)


def describe(
    config: Experiment, *, what: str, target: str, options: programs.Options
) -> report.Record:
  """The description of a compiled program; see `run` and `report.make`."""
  _check_stage(config, what)
  found = targets.find(target)
  devices = found.devices
  with uncached():
    if what == 'train':
      program = programs.train(config, devices)
    elif what == 'sample':
      assert isinstance(config, RQTransformerExperiment)
      program = programs.sample(config, devices, options)
    else:
      assert isinstance(config, RQVAEExperiment)
      lower = programs.encode if what == 'encode' else programs.decode
      program = lower(config, devices, options)
    console.tell(f'Compiling for {target} ...')
    return {'what': what, **report.make(program, found, _rates(found))}


@contextlib.contextmanager
def uncached() -> Iterator[None]:
  """Compiles everything anew.

  The time is then that of the compiler. The names of operations, which are no
  part of the cache's keys, are those of this code.
  """
  # JAX adds its options when it is imported, unseen by type checkers.
  kept = cast(Any, jax.config).jax_enable_compilation_cache
  _set_cache(False)
  try:
    yield
  finally:
    _set_cache(kept)


def _set_cache(enabled: bool) -> None:
  jax.config.update('jax_enable_compilation_cache', enabled)
  compilation_cache.reset_cache()  # JAX reads the above only once.


def _check_stage(config: Experiment, what: str) -> None:
  stages = {'sample': 2, 'encode': 1, 'decode': 1}
  if config.stage != stages.get(what, config.stage):
    kind = 'an RQ-VAE' if config.stage == 1 else 'an RQ-Transformer'
    possible = [name for name in WHAT if stages.get(name) != 3 - config.stage]
    raise ValueError(
        f'--what={what} has no meaning for {kind}, which --config describes.'
        f' Give --what={" or ".join(possible)}.'
    )


def _rates(target: targets.Target) -> estimate.Rates | None:
  if target.chip is not None:
    return estimate.rates_of(target.chip)
  if target.devices[0].platform != 'cpu':
    return None
  console.tell('Measuring the rates of this CPU ...')
  return cpu_rates.measure(_REPEATS)
