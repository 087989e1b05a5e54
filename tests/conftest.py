"""Settings of the tests: eight simulated devices, quick compilation, a cache.

They are environment variables, set before jax is imported, so that programs
started by tests inherit them. A warm cache makes the suite several times
faster; `--cache-clear` empties it.
"""

import os
import pathlib

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = ' '.join(
    [
        *os.environ.get('XLA_FLAGS', '').split(),
        '--xla_force_host_platform_device_count=8',
        # Programs run only a few times, so compiling takes most of the time.
        '--xla_backend_optimization_level=0',
    ]
)
os.environ.setdefault(
    'JAX_COMPILATION_CACHE_DIR',
    str(pathlib.Path(__file__).resolve().parents[1] / '.pytest_cache' / 'jax'),
)
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

from absl import flags
import jax
import pytest

flags.FLAGS.mark_as_parsed()
jax.config.update('jax_numpy_rank_promotion', 'raise')

# Memory mappings of a process at which compiled programs are released. Linux
# allows 65,530, and XLA crashes beyond.
_MAPPED = 30_000


@pytest.fixture(autouse=True, scope='module')
def few_programs():
  """Releases compiled programs before there are too many."""
  yield
  maps = pathlib.Path('/proc/self/maps')
  if maps.exists() and maps.read_bytes().count(b'\n') > _MAPPED:
    jax.clear_caches()
