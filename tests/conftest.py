"""Settings of the tests: eight simulated devices, quick compilation, a cache.

They are environment variables, set before jax is imported, so that programs
started by tests inherit them. A warm cache makes the suite several times
faster; `--cache-clear` empties it.
"""

import collections
import gc
import importlib.metadata
import multiprocessing.process
import os
import pathlib
import subprocess

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = ' '.join(
    [
        *os.environ.get('XLA_FLAGS', '').split(),
        '--xla_force_host_platform_device_count=8',
        # Programs run only a few times, so compiling takes most of the time.
        '--xla_backend_optimization_level=0',
        # Compile each program in one piece, because other tests use the cores.
        '--xla_cpu_parallel_codegen_split_count=1',
        # Loops compile in half the time. Later versions lack this option.
        '--xla_cpu_use_fusion_emitters=false'
        if importlib.metadata.version('jaxlib').startswith('0.10.')
        else '',
    ]
)
os.environ.setdefault(
    'JAX_COMPILATION_CACHE_DIR',
    str(pathlib.Path(__file__).resolve().parents[1] / '.pytest_cache' / 'jax'),
)
# Saves time: programs do not record the lines of code of their operations.
os.environ['JAX_TRACEBACK_IN_LOCATIONS_LIMIT'] = '0'
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'
# Programs hold back output until they flush it, as they do for most users.
os.environ.pop('PYTHONUNBUFFERED', None)

from absl import flags
import jax
import pytest

from tests import folders

# Tracing makes many objects, and few of them are in cycles.
gc.set_threshold(50_000, 20, 10)
flags.FLAGS.mark_as_parsed()
jax.config.update('jax_numpy_rank_promotion', 'raise')

# Memory mappings of a process at which compiled programs are released. Linux
# allows 65,530, and XLA crashes beyond.
_MAPPED = 30_000


@pytest.hookimpl(tryfirst=True)  # Before marks are selected.
def pytest_collection_modifyitems(config, items):
  """Leaves out drills, unless `-m drill` asks for them, and sorts the tests.

  Files with slow tests run first, and of these the shortest first.
  Otherwise, one worker would run a slow file at the end while others wait. The
  tests of files with few slow tests take longest.
  """
  if 'drill' not in config.option.markexpr:
    drills = [item for item in items if item.get_closest_marker('drill')]
    config.hook.pytest_deselected(items=drills)
    items[:] = [item for item in items if item not in drills]
  long = collections.Counter(item.path for item in items if _takes_long(item))
  items.sort(key=lambda i: (i.path not in long, long[i.path], i.path))


def _takes_long(item):
  """Whether the fast part leaves the test out."""
  return any(map(item.get_closest_marker, ('process', 'slow')))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
  """Lets only tests with the mark `process`, and their fixtures, start one."""

  def refuse(*_, **__):
    pytest.fail('This test starts a process: mark it with pytest.mark.process.')

  with pytest.MonkeyPatch.context() as patch:
    if not item.get_closest_marker('process'):
      patch.setattr(subprocess.Popen, '__init__', refuse)
      patch.setattr(multiprocessing.process.BaseProcess, 'start', refuse)
    return (yield)


@pytest.fixture(autouse=True, scope='session')
def shared_folder(tmp_path_factory):
  """Sets the folder that all workers of this run share."""
  folder = tmp_path_factory.getbasetemp()
  alone = 'PYTEST_XDIST_WORKER' not in os.environ
  folders.shared = folder if alone else folder.parent


@pytest.fixture(autouse=True, scope='module')
def few_programs():
  """Releases compiled programs before there are too many."""
  yield
  maps = pathlib.Path('/proc/self/maps')
  if maps.exists() and maps.read_bytes().count(b'\n') > _MAPPED:
    jax.clear_caches()
