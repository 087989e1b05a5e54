"""Records a trace of some training steps."""

from collections.abc import Callable, Generator, Iterable
import itertools

from etils import epath
import jax

from rq_jax.distributed import console


def traced(
    steps: Iterable[int],
    *,
    count: int,
    folder: epath.PathLike,
    wait: Callable[[], object],
) -> Generator[int, None, None]:
  """Yields all steps, and records a trace while some of them are taken.

  The first step is not recorded, because it compiles. Only the first process
  records, because processes of one host would write to the same file.

  Args:
    steps: Numbers of the steps that will be taken.
    count: How many steps to record; 0 records nothing.
    folder: Folder of the trace.
    wait: Waits until the devices have taken all steps so far. It is called
      only before and after the trace.
  """
  steps = iter(steps)
  if count and jax.process_index() == 0:
    yield from itertools.islice(steps, 1)
    wait()
    yield from _recorded(itertools.islice(steps, count), folder, wait)
  yield from steps


def _recorded(
    steps: Iterable[int],
    folder: epath.PathLike,
    wait: Callable[[], object],
) -> Generator[int, None, None]:
  """Yields steps; records until the last of them, or until it is closed."""
  taken = []
  jax.profiler.start_trace(folder)
  try:
    for step in steps:
      with jax.profiler.StepTraceAnnotation('train', step_num=step):
        yield step
      taken.append(step)
    wait()
  finally:
    jax.profiler.stop_trace()
    shown = f'steps {taken[0]} to {taken[-1]}' if taken else 'no steps'
    console.tell(
        f'A trace of {shown} is in {folder}. Open it with `pip install xprof`'
        f' and `xprof --logdir={folder}`, or open the newest file'
        ' *.trace.json.gz in it at https://ui.perfetto.dev.'
    )
