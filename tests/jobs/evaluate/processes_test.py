"""Two processes judge images, are killed, and continue to the same bits."""

import signal
import time

import pytest

from tests import processes
from tests.jobs.evaluate import fakes

pytestmark = pytest.mark.process

CHUNKS = 30
# Slow enough to be stopped before it ends.
PROGRAM = """
import sys, time
from rq_jax import __main__ as main_lib
from rq_jax.jobs.evaluate import restoring
from tests.jobs.evaluate import fakes

slow, *flags = sys.argv[1:]
restoring.restore = fakes.restore
restoring.check = lambda *_: None
extract = fakes.colours

def slowly(images):
  time.sleep(float(slow))
  return extract(images)

fakes.colours = slowly
sys.exit(main_lib.main(['evaluate', *flags]))
"""


def start(samples, reference, out, count, slow=0, devices=1):
  flags = [f'--samples={samples}', f'--reference={reference}', f'--out={out}']
  flags += ['--dialect=rq', '--inception=unused', '--chunk_size=16']
  return [
      processes.start(PROGRAM, slow, *flags, *joining, devices=devices)
      for joining in processes.joining(count)
  ]


def test_after_kill_9_two_processes_end_with_the_bits_of_one(
    tmp_path, monkeypatch
):
  samples = fakes.write(tmp_path / 'a.npz', 16 * CHUNKS // 2)
  reference = fakes.write(tmp_path / 'b.npz', 16 * CHUNKS // 2 - 5, seed=1)
  out = tmp_path / 'out'
  started = start(samples, reference, out, count=2, slow=0.3)
  parts = out / 'features'
  while len(list(parts.glob('*.npz'))) < 4 and not started[0].poll():
    time.sleep(0.02)
  killed = processes.end(started, signal.SIGKILL)
  assert [code for code, _, _ in killed] == [-9, -9]
  assert 4 <= len(list(parts.glob('*.npz'))) < CHUNKS
  ended = processes.end(start(samples, reference, out, count=2, devices=2))
  assert [code for code, _, _ in ended] == [0, 0]
  assert ended[0][1].count('fid') >= 1
  with fakes.networks_replaced(monkeypatch):
    fakes.evaluate(tmp_path / 'whole', samples, reference)
  whole = fakes.contents(tmp_path / 'whole')
  files, results, page = fakes.contents(out)
  assert files == whole[0]
  assert results == whole[1]
  assert page == whole[2]
