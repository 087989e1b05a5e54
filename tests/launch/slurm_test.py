"""`launch/slurm.sbatch`, with stand-ins for Slurm's programs.

tests/drills/slurm_test.py runs it in Slurm itself.
"""

import re
import signal

import pytest

from tests.launch import clones
from tests.launch.clones import clone  # noqa: F401 (a fixture)

pytestmark = pytest.mark.process

SCRIPT = 'launch/slurm.sbatch'


@pytest.fixture
def cluster(clone):  # noqa: F811
  """A clone, beside stand-ins: srun runs $SRUN, scontrol logs its arguments."""
  tools = clone.parent / 'tools'
  clones.write_program(tools / 'python', 'exit 0\n')
  clones.write_program(
      tools / 'srun',
      'echo "srun $* with GPUs ${JAX_LOCAL_DEVICE_IDS:-of each}"\n'
      'eval "$SRUN"\n',
  )
  clones.write_program(tools / 'scontrol', 'echo "scontrol $*"\n')
  return clone


def job(cluster, **variables):
  """The variables that Slurm sets in a job of four tasks on two nodes."""
  return {
      'SLURM_JOB_ID': '17',
      'SLURM_SUBMIT_DIR': str(cluster),
      'SLURM_JOB_NUM_NODES': '2',
      'SLURM_NTASKS': '4',
      'SRUN': '',
  } | variables


@pytest.mark.parametrize(
    ('code', 'requeued'),
    # 138: SIGUSR1 killed a task before it could note the signal.
    [(0, False), (1, False), (75, True), (137, False), (138, True)],
)
def test_only_an_interrupted_job_returns_to_the_queue(cluster, code, requeued):
  variables = job(cluster, SRUN=f'exit {code}')
  found, output, errors = clones.run(cluster, SCRIPT, 'train', **variables)
  assert (found, errors) == (code, '')
  assert ('scontrol requeue 17' in output) == requeued


def test_a_job_that_slurm_ends_is_left_to_slurm(cluster):
  """Otherwise, a cancelled job would come back."""
  variables = job(cluster, SRUN='echo ready; sleep 1; exit 75')
  started = clones.start(cluster, SCRIPT, 'train', **variables)
  while started.stdout.readline() != 'ready\n':
    assert started.poll() is None
  started.send_signal(signal.SIGTERM)
  output, _ = started.communicate(timeout=30)
  assert started.returncode == 75
  assert 'scontrol' not in output


def test_tasks_run_the_command_and_end_by_themselves(cluster):
  words = ['train', '--config=a b', '--workdir=c']
  _, output, _ = clones.run(cluster, SCRIPT, *words, **job(cluster))
  assert '--kill-on-bad-exit=0' in output
  assert 'python -m rq_jax train --config=a b --workdir=c ' in output


@pytest.mark.parametrize(
    ('tasks', 'gpus'),
    [
        ({'SLURM_NTASKS': '2', 'SLURM_GPUS_ON_NODE': '3'}, '0,1,2'),
        ({'SLURM_NTASKS': '6', 'SLURM_GPUS_ON_NODE': '3'}, 'of each'),
        ({'SLURM_NTASKS': '2'}, 'of each'),
    ],
)
def test_a_task_per_node_uses_all_its_gpus(cluster, tasks, gpus):
  """JAX would give each task of Slurm the GPU of its number."""
  variables = job(cluster, **tasks)
  _, output, _ = clones.run(cluster, SCRIPT, 'train', **variables)
  assert f'with GPUs {gpus}\n' in output


def test_without_a_number_of_tasks_there_is_one_per_node(cluster):
  variables = job(cluster, SLURM_GPUS_ON_NODE='2')
  del variables['SLURM_NTASKS']
  _, output, _ = clones.run(cluster, SCRIPT, 'train', **variables)
  assert 'with GPUs 0,1\n' in output


def test_slurm_reads_its_settings_before_the_first_command():
  text = (clones.ROOT / SCRIPT).read_text()
  head = text[: text.index('set -euo')]
  assert not [li for li in head.splitlines() if li and not li.startswith('#')]
  settings = re.findall(r'^#SBATCH (.*)$', head, re.M)
  assert text.count('\n#SBATCH') == len(settings)
  # The steps get the signal, not this script: no B: in front.
  assert {'--requeue', '--signal=USR1@120', '--open-mode=append'} <= {*settings}


@pytest.mark.parametrize(
    ('changes', 'words', 'message'),
    [
        ({'SLURM_JOB_ID': ''}, ['train'], 'Submit this file with sbatch'),
        ({'SLURM_SUBMIT_DIR': '/'}, ['train'], 'Run sbatch in the root'),
        ({}, [], 'Name a command, such as train.'),
    ],
)
def test_mistakes_are_said_in_one_line(cluster, changes, words, message):
  variables = job(cluster, **changes)
  code, output, errors = clones.run(cluster, SCRIPT, *words, **variables)
  assert (code, output) == (1, '')
  assert errors.startswith(message)
  assert errors.count('\n') == 1
