"""Two real processes, joined by flags, encode the same cache as one."""

import pathlib
import signal
import time

import jax
import pytest

from rq_jax import config
from rq_jax.checkpoints import inference_copy
from rq_jax.data.feature_cache import layout
from rq_jax.jobs.encode import job as encode
from rq_jax.tokenizer import Tokenizer
from tests import processes
from tests import tiny

pytestmark = pytest.mark.process

ROOT = pathlib.Path(__file__).resolve().parents[3]
CONFIG = 'configs/digits/rqvae.py'
FIELDS = {'data.image_size': 16, 'data.batch_size': 64, 'model.image_size': 16}
FIELDS |= {'model.channel_multipliers': (1, 1, 1), 'model.res_blocks': 0}
SHARD_BYTES = 30_000  # 1438 and 359 digits of 512 bytes: 25 + 6 shards.
# Slow enough to be stopped before it ends.
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
  """Bytes of all files of a cache, by name; not those about the job."""
  return {
      str(file.relative_to(folder)): file.read_bytes()
      for file in folder.rglob('*')
      if file.is_file() and file.name not in ('.lock', 'encoded.json')
  }


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  """The folder of a tokenizer."""
  path = tmp_path_factory.mktemp('tokenizer')
  untrained = tiny.untrained_tokenizer()
  inference_copy.export(path, tiny.stage1_config(), untrained.variables)
  return str(path)


def go_on(tokenizer, out):
  """Encodes the missing shards in this process; returns all files then."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(layout, 'SHARD_BYTES', SHARD_BYTES)
    patch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
    experiment = config.load(str(ROOT / CONFIG), overrides=FIELDS)
    restored = Tokenizer.restore(tokenizer, verbose=False)
    encode.encode(restored, experiment.data, str(out))
  return contents(out)


@pytest.fixture(scope='module')
def undisturbed(tokenizer, tmp_path_factory):
  """The files of one process that ran without interruption."""
  return go_on(tokenizer, tmp_path_factory.mktemp('undisturbed'))


def start(tokenizer, out, slow=0.0, count=2):
  """Processes with one device each."""
  flags = [f'--config={CONFIG}', f'--tokenizer={tokenizer}', f'--out={out}']
  flags += [f'--config.{name}={value}' for name, value in FIELDS.items()]
  port = processes.free_port()
  others = [f'--coordinator=localhost:{port}', f'--processes={count}']
  return [
      processes.start(
          PROGRAM,
          SHARD_BYTES,
          slow,
          *flags,
          *([*others, f'--process={i}'] if count > 1 else []),
      )
      for i in range(count)
  ]


def wait_for(started, out, shards):
  """Waits until some shards are finished, or a process ends."""
  while len(list(out.glob('t*/shard-*.json'))) < shards:
    assert all(p.poll() is None for p in started), processes.end(started)
    time.sleep(0.02)


def test_the_cache_of_two_processes_is_that_of_one(
    tokenizer, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  (first, output, error), (second, other, _) = processes.end(
      start(tokenizer, out)
  )
  assert first == second == 0, error
  assert contents(out) == undisturbed
  assert len(undisturbed) == 4 * 31 + 2
  # Process c % 2 makes chunk c.
  assert (output.count('wrote\n'), other.count('wrote\n')) == (16, 15)
  assert f'1797 images are in {out}; encoded at' in output
  assert '1797' not in other


def test_a_signal_to_both_is_answered_and_one_process_goes_on(
    tokenizer, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  started = start(tokenizer, out, slow=0.1)
  wait_for(started, out, 3)
  for code, _, error in processes.end(started, signal.SIGTERM):
    assert code == 75, error
    assert f'of 1797 images are finished in {out}. Run the same' in error
  assert 3 <= len(list(out.glob('t*/shard-*.json'))) < 31
  assert (out / 'job.json').exists()
  assert not list(out.rglob('*.partial'))
  assert go_on(tokenizer, out) == undisturbed


def test_a_cache_that_was_killed_twice_is_the_same(
    tokenizer, undisturbed, tmp_path
):
  """The first kill hits one process, the second one hits two."""
  out = tmp_path / 'out'
  for count, shards in ((1, 4), (2, 12)):
    started = start(tokenizer, out, slow=0.1, count=count)
    wait_for(started, out, shards)
    for code, _, error in processes.end(started, signal.SIGKILL):
      assert code == -signal.SIGKILL, error
    assert list(out.rglob('*.partial')) and not list(out.rglob('meta.json'))
  assert len(list(out.glob('t*/shard-*.json'))) < 31
  assert go_on(tokenizer, out) == undisturbed
