"""Two real processes, found by flags, encode what one process encodes."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest

from rq_jax import config
from rq_jax.checkpoints import inference_copy
from rq_jax.data.feature_cache import layout
from rq_jax.jobs import encode
from rq_jax.tokenizer import Tokenizer
from tests import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = 'configs/digits/rqvae.py'
FIELDS = {'data.image_size': 16, 'data.batch_size': 64, 'model.image_size': 16}
FIELDS |= {'model.channel_multipliers': (1, 1, 1), 'model.res_blocks': 0}
SHARD_BYTES = 30_000  # 1438 and 359 digits of 512 bytes: 25 + 6 shards.
# Slow enough to be met on its way.
PROGRAM = """
import sys, time
from rq_jax import __main__ as main_lib
from rq_jax.data.feature_cache import layout, writer

size, slow, *flags = sys.argv[1:]
layout.SHARD_BYTES = int(size)
close = writer.Writer.close

def slowly(self):
  time.sleep(float(slow))
  close(self)
  print('wrote', flush=True)

writer.Writer.close = slowly
sys.exit(main_lib.main(['encode', *flags]))
"""


def contents(folder):
  """Bytes of all files below a folder, by name; but the lock."""
  return {
      str(file.relative_to(folder)): file.read_bytes()
      for file in folder.rglob('*')
      if file.is_file() and file.name != '.lock'
  }


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  """The folder of a tokenizer."""
  path = tmp_path_factory.mktemp('tokenizer')
  untrained = tiny.untrained_tokenizer()
  inference_copy.export(path, tiny.stage1_config(), untrained.variables)
  return str(path)


def go_on(tokenizer, out):
  """Encodes in this process what is missing; returns what is there then."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(layout, 'SHARD_BYTES', SHARD_BYTES)
    patch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
    experiment = config.load(str(ROOT / CONFIG), overrides=FIELDS)
    restored = Tokenizer.restore(tokenizer, verbose=False)
    encode.encode(restored, experiment.data, str(out))
  return contents(out)


@pytest.fixture(scope='module')
def undisturbed(tokenizer, tmp_path_factory):
  """What one process leaves that nothing disturbed."""
  return go_on(tokenizer, tmp_path_factory.mktemp('undisturbed'))


def start(tokenizer, out, slow=0.0):
  """Two processes with one device each."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  flags = [f'--config={CONFIG}', f'--tokenizer={tokenizer}', f'--out={out}']
  flags += [f'--config.{name}={value}' for name, value in FIELDS.items()]
  flags += [f'--coordinator={address}', '--processes=2']
  xla = (
      '--xla_force_host_platform_device_count=1'
      ' --xla_backend_optimization_level=0'
  )
  return [
      subprocess.Popen(
          [
              *(sys.executable, '-c', PROGRAM, str(SHARD_BYTES), str(slow)),
              *flags,
              f'--process={i}',
          ],
          cwd=ROOT,
          # Collectives keep threads waiting; XLA has one for each core only.
          env=os.environ | {'XLA_FLAGS': xla, 'NPROC': '16'},
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          text=True,
      )
      for i in range(2)
  ]


def end(processes):
  """Exit codes, outputs and errors."""
  try:
    texts = [process.communicate(timeout=120) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [(p.returncode, *text) for p, text in zip(processes, texts)]


def test_the_cache_of_two_processes_is_that_of_one(
    tokenizer, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  (first, output, error), (second, other, _) = end(start(tokenizer, out))
  assert first == second == 0, error
  assert contents(out) == undisturbed
  assert len(undisturbed) == 2 * 31 + 2
  # Chunk c is of process c % 2.
  assert (output.count('wrote\n'), other.count('wrote\n')) == (16, 15)
  assert f'1797 images are in {out}; encoded at' in output
  assert '1797' not in other


def test_a_signal_to_both_is_answered_and_one_process_goes_on(
    tokenizer, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  processes = start(tokenizer, out, slow=0.1)

  def labels():
    return list(out.glob('t*/label-*.npy'))

  while len(labels()) < 3 and all(p.poll() is None for p in processes):
    time.sleep(0.02)
  for process in processes:
    process.send_signal(signal.SIGTERM)
  for code, _, error in end(processes):
    assert code == 75, error
    assert f'of 1797 images are finished in {out}; the same' in error
  assert 3 <= len(labels()) < 31
  assert (out / 'job.json').exists()
  assert not list(out.rglob('*.partial'))
  assert go_on(tokenizer, out) == undisturbed
