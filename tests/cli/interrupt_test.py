"""SIGTERM and Ctrl-C: saved, exit code 75, and the same command goes on."""

import json
import signal
import subprocess
import sys
import time

import pytest

STEPS = 40
TINY = [
    '--config=configs/digits/rqvae.py',
    '--config.data.image_size=16',
    '--config.data.batch_size=8',
    '--config.model.image_size=16',
    '--config.model.channel_multipliers=(1,1,1)',
    '--config.model.res_blocks=0',
    '--config.model.code_shape=(4,4,2)',
    '--config.model.codebook_size=8',
    f'--config.train.steps={STEPS}',
    '--config.train.log_steps=1',
    '--config.train.eval_steps=10000',
    '--config.train.checkpoint_steps=10000',
]


def start(workdir):
  return subprocess.Popen(
      [sys.executable, '-m', 'rq_jax', 'train', f'--workdir={workdir}', *TINY],
      stderr=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
  )


def logged_steps(workdir):
  file = workdir / 'metrics.jsonl'
  lines = file.read_text().splitlines() if file.exists() else []
  return [json.loads(line)['step'] for line in lines]


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(number, tmp_path):
  process = start(tmp_path)
  while process.poll() is None and len(logged_steps(tmp_path)) < 3:
    time.sleep(0.05)
  process.send_signal(number)
  _, error = process.communicate(timeout=120)
  assert process.returncode == 75
  sentence = error.splitlines()[-1]
  assert 'the same command resumes it' in sentence
  (saved,) = [int(p.name) for p in (tmp_path / 'checkpoints').iterdir()]
  assert f'saved at step {saved}' in sentence
  assert 3 <= saved < STEPS

  if number == signal.SIGINT:
    return  # What follows does not depend on the signal.
  again = start(tmp_path)
  out, _ = again.communicate(timeout=300)
  assert again.returncode == 0
  assert 'eval/mse' in out
  steps = logged_steps(tmp_path)
  assert steps == [*range(1, STEPS + 1), STEPS]  # The last is the evaluation.
