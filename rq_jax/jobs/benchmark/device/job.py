"""The parts of a device check in their order."""

from collections.abc import Callable, Iterator
import dataclasses
import gc

import jax

from rq_jax.config import Experiment
from rq_jax.distributed import console
from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import constants
from rq_jax.jobs.benchmark import measured
from rq_jax.jobs.benchmark import training_steps
from rq_jax.jobs.benchmark.device import cases as cases_lib
from rq_jax.jobs.benchmark.device import greedy
from rq_jax.jobs.benchmark.device import kernels
from rq_jax.jobs.benchmark.device import report as report_lib
from rq_jax.jobs.benchmark.device import sampling
from rq_jax.jobs.plan import chips

# Seconds that a training step may take to compile and to be timed.
_TRAINING_S = {'stage 1': 100, 'stage 2': 100}


def run(path: str, *, small: bool, minutes: float) -> None:
  """Measures everything that only a device can show.

  Args:
    path: File for the results, of JSON; written after every case.
    small: Whether to try the check with tiny models.
    minutes: Time after which no long case starts.

  Raises:
    OSError: If the file cannot be written.
    ValueError: If cases failed, after all others were measured.
  """
  check = cases_lib.SMALL if small else cases_lib.FULL
  head = {
      'kind': 'device',
      'small': small,
      'minutes': minutes,
      'environment': measured.environment(),
  }
  report = report_lib.Report(path, head, minutes)
  for name, cases in _parts(check, report):
    console.tell(f'{name} ...')
    report.part(name, cases())
    gc.collect()  # Frees the arrays of the part.
  if report.failed:
    raise ValueError(
        f'{len(report.failed)} cases failed: {"; ".join(report.failed)}. Their'
        f' errors are in {path}.'
    )


def _parts(
    check: cases_lib.Cases, report: report_lib.Report
) -> Iterator[tuple[str, Callable[[], Iterator[report_lib.Case]]]]:
  device = jax.local_devices()[0]
  yield 'constants', lambda: _constants(check)
  chip = chips.find(device.device_kind) or timing.calibrate(
      check.dtype, side=64, copied=2**16
  )
  yield 'sampling', lambda: sampling.run(check, report, chip)
  yield 'training', lambda: _training(check, report)
  yield 'kernels', lambda: kernels.run(check, report)
  yield 'greedy', lambda: greedy.run(check)
  yield 'decoding', lambda: sampling.decoding(check, report)


def _constants(check: cases_lib.Cases) -> Iterator[report_lib.Case]:
  def work():
    found = constants.run(check.dtype, check.repeats, scale=check.scale)
    return [dataclasses.asdict(constant) for constant in found]

  yield 'all', work


def _training(
    check: cases_lib.Cases, report: report_lib.Report
) -> Iterator[report_lib.Case]:
  def measure(name: str, config: Experiment):
    report.require(_TRAINING_S[name])
    return training_steps.measure(name, config, check.repeats)

  yield 'stage 1', lambda: measure('stage 1', check.rqvae)
  yield 'stage 2', lambda: measure('stage 2', check.rqtransformer)
