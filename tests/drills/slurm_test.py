"""`launch/slurm.sbatch` in Slurm: interrupted runs end like undisturbed ones.

Needs a running Slurm with a node of two CPUs; otherwise, the drill is skipped.
"""

import os
import pathlib
import shutil
import subprocess
import time

import pytest

from tests import tiny
from tests import tiny_flags

pytestmark = [pytest.mark.drill, pytest.mark.process]

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 150


@pytest.fixture(scope='module', autouse=True)
def cluster():
  """Skips the drill where no Slurm runs."""
  if not shutil.which('scontrol') or 'UP' not in slurm('scontrol', 'ping'):
    pytest.skip('Slurm does not run on this machine.')


def slurm(*words, check=True):
  """Runs a program of Slurm in the root of the repository."""
  # The other flags make programs compile quickly.
  flags = os.environ['XLA_FLAGS'].replace('device_count=8', 'device_count=1')
  return subprocess.run(
      words,
      cwd=ROOT,
      env=os.environ | {'XLA_FLAGS': flags, 'NPROC': '16'},
      capture_output=True,
      text=True,
      check=check,
  ).stdout


def submit(folder, *options):
  """Submits a run of two tasks; returns the number of the job."""
  return slurm(
      'sbatch',
      '--parsable',
      '--ntasks-per-node=2',
      f'--output={folder}.log',
      *options,
      'launch/slurm.sbatch',
      'train',
      *tiny_flags.FLAGS,
      f'--config.train.steps={STEPS}',
      f'--workdir={folder}',
  ).strip()


def until(condition):
  while not condition():
    time.sleep(0.2)


def restarts(job):
  text = slurm('scontrol', 'show', 'job', job)
  return int(text.split('Restarts=')[1].split()[0])


def has_ended(job):
  """Whether a job has left the queue; a job that waits there starts at once."""
  state = slurm('squeue', '--noheader', '--states=all', f'-j{job}', '-o%T')
  if state.strip() == 'PENDING':
    # It fails if the job has started meanwhile.
    slurm('scontrol', 'update', f'JobId={job}', 'StartTime=now', check=False)
  return state.strip() in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT')


def lines(folder):
  file = folder / 'metrics.jsonl'
  return file.read_text().count('\n') if file.exists() else 0


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  folder = tmp_path_factory.mktemp('slurm') / 'undisturbed'
  job = submit(folder)
  until(lambda: has_ended(job))
  return folder


def assert_same(folder, undisturbed):
  tiny.assert_trees_equal(
      tiny.saved_state(folder), tiny.saved_state(undisturbed)
  )
  assert tiny.metric_lines(folder) == tiny.metric_lines(undisturbed)


def test_a_requeued_job_ends_like_an_undisturbed_one(tmp_path, undisturbed):
  folder = tmp_path / 'run'
  job = submit(folder)
  until(lambda: lines(folder) >= 40)
  slurm('scontrol', 'requeue', job)
  until(lambda: has_ended(job))
  assert restarts(job) == 1
  assert 'Resuming after step' in (tmp_path / 'run.log').read_text()
  assert_same(folder, undisturbed)


def test_a_time_limit_returns_the_job_to_the_queue(tmp_path, undisturbed):
  """Steps are signalled as before a limit, at a step that the test chooses."""
  folder = tmp_path / 'run'
  job = submit(folder)
  until(lambda: lines(folder) >= 40)
  slurm('scancel', '--signal=USR1', job)
  until(lambda: has_ended(job))
  assert restarts(job) == 1
  assert f'job {job} returns to the queue' in (tmp_path / 'run.log').read_text()
  assert_same(folder, undisturbed)


def test_a_cancelled_job_saves_and_does_not_come_back(tmp_path):
  folder = tmp_path / 'run'
  job = submit(folder)
  until(lambda: lines(folder) >= 5)
  slurm('scancel', job)
  until(lambda: has_ended(job))
  until(lambda: 'srun: error' in (tmp_path / 'run.log').read_text())
  time.sleep(3)
  assert has_ended(job)
  assert restarts(job) == 0
  assert list((folder / 'checkpoints').iterdir())
