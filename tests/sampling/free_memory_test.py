"""How much memory of a device is free, where someone can tell."""

import pathlib
import types

import jax
import pytest

from rq_jax.sampling import memory


def test_simulated_devices_share_the_memory_of_the_machine(monkeypatch):
  lines = ['MemTotal: 9000 kB', 'MemAvailable:    800 kB', 'Cached: 5 kB']
  monkeypatch.setattr(pathlib.Path, 'read_text', lambda _: '\n'.join(lines))
  assert memory.free_bytes(jax.devices()[0]) == 800 * 1024 // 8
  del lines[1]
  assert memory.free_bytes(jax.devices()[0]) is None
  monkeypatch.setattr(pathlib.Path, 'exists', lambda _: False)
  assert memory.free_bytes(jax.devices()[0]) is None


def test_an_accelerator_tells_what_is_left():
  def device(**stats):
    return types.SimpleNamespace(platform='gpu', memory_stats=lambda: stats)

  assert memory.free_bytes(device(bytes_limit=100, bytes_in_use=30)) == 70
  assert memory.free_bytes(device(bytes_in_use=30)) is None
  assert memory.free_bytes(device()) is None


@pytest.mark.skipif(
    not pathlib.Path('/proc/meminfo').exists(), reason='only Linux tells'
)
def test_this_machine_has_memory_left():
  assert 2**20 < memory.free_bytes(jax.devices()[0]) < 2**45
