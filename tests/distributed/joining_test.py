"""Processes find each other if several are announced, or by flags."""

import subprocess
import sys

import jax
import pytest

from rq_jax.distributed import launchers
from rq_jax.distributed import processes

SLURM = {
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'node[1-2]',
    'SLURM_NTASKS': '4',
    'SLURM_PROCID': '0',
    'SLURM_LOCALID': '0',
}
POD = {'KUBERNETES_SERVICE_HOST': '10.0.0.1'}
INDEXED = POD | {'JOB_COMPLETION_INDEX': '3'}
ALL = ('libtpu', 'kubernetes', 'mpi4py')
GIVEN = {'coordinator': 'here:1', 'processes': 2, 'process': 1}


@pytest.fixture
def asked(monkeypatch):
  """The arguments that JAX is called with to join processes."""
  calls = []

  def join(**arguments):
    calls.append(arguments)

  monkeypatch.setattr(jax.distributed, 'initialize', join)
  return calls


@pytest.fixture
def surroundings(monkeypatch):
  """Sets the whole environment, and the packages that exist."""

  def be(environment, packages=ALL):
    monkeypatch.setattr(processes.os, 'environ', environment)
    monkeypatch.setattr(launchers, '_is_there', packages.__contains__)

  return be


@pytest.mark.parametrize(
    ('environment', 'method'),
    [
        (SLURM, 'slurm'),
        (SLURM | {'SLURM_STEP_NUM_TASKS': '2'}, 'slurm'),
        (
            {'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_MCA_orte_hnp_uri': '1.0;x'},
            'ompi',
        ),
        ({'OMPI_COMM_WORLD_SIZE': '2'}, 'mpi4py'),
        ({'PMI_SIZE': '8'}, 'mpi4py'),
        # `mpirun` in an allocation, from its only task or on all its nodes.
        (
            SLURM
            | {'SLURM_STEP_NUM_TASKS': '1', 'OMPI_COMM_WORLD_SIZE': '4'}
            | {'OMPI_MCA_orte_hnp_uri': '1.0;x'},
            'ompi',
        ),
        (SLURM | {'OMPI_COMM_WORLD_SIZE': '4'}, 'mpi4py'),
        (SLURM | {'SLURM_NTASKS': '2', 'PMI_SIZE': '8'}, 'mpi4py'),
        (SLURM | {'PMI_SIZE': '4'}, 'slurm'),  # `srun --mpi=pmi2`.
        ({'TPU_WORKER_HOSTNAMES': 'a,b'}, 'gketpu'),
        ({'TPU_PROCESS_ADDRESSES': 'a:1,b:1'}, 'gketpu'),
        (
            {'TPU_WORKER_HOSTNAMES': 'a', 'MEGASCALE_NUM_SLICES': '2'},
            'gketpu',
        ),
        ({}, 'gcetpu'),  # A machine with its own TPUs, or one of a pod.
        (INDEXED | {'TPU_SKIP_MDS_QUERY': '1'}, None),
        (INDEXED | {'JAX_PLATFORMS': 'cuda'}, None),
    ],
)
def test_processes_that_are_announced_are_joined(
    environment, method, asked, surroundings, capsys, monkeypatch
):
  surroundings(environment)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  processes.initialize()
  assert asked == [{'cluster_detection_method': method}]
  assert '2 processes work together, announced by' in capsys.readouterr().out
  processes.initialize('off')
  assert len(asked) == 1


@pytest.mark.parametrize(
    ('environment', 'packages'),
    [
        ({}, ()),  # A laptop.
        ({'JAX_PLATFORMS': 'cpu'}, ALL),
        # JAX sets this where there are no TPUs.
        ({'TPU_SKIP_MDS_QUERY': '1'}, ALL),
        ({'TPU_PROCESS_ADDRESSES': 'local'}, ALL),  # A notebook.
        (POD, ('kubernetes',)),
        (SLURM | {'SLURM_NTASKS': '1'}, ()),
        # A shell in an allocation: `salloc`, or `srun --ntasks=1 --pty bash`.
        (SLURM | {'SLURM_STEP_NUM_TASKS': '1'}, ()),
        # The script of `sbatch`, which runs once.
        ({n: v for n, v in SLURM.items() if 'STEP' not in n}, ()),
        ({'OMPI_COMM_WORLD_SIZE': '1', 'PMI_SIZE': '1'}, ()),
        # One task of Slurm, on a machine with a TPU.
        (SLURM | {'SLURM_NTASKS': '1', 'PMI_SIZE': '1'}, ALL),
    ],
)
def test_where_nothing_announces_several_it_goes_on_alone(
    environment, packages, asked, surroundings, capsys, caplog
):
  surroundings(environment, packages)
  processes.initialize()
  assert not asked
  assert not capsys.readouterr().out
  assert not caplog.text


def test_a_machine_with_tpus_that_is_the_only_one_says_nothing(
    asked, surroundings, capsys
):
  surroundings({})
  processes.initialize()
  assert asked == [{'cluster_detection_method': 'gcetpu'}]
  assert not capsys.readouterr().out


def test_a_pod_that_cannot_ask_for_the_others_warns(
    asked, surroundings, caplog
):
  surroundings(INDEXED, ())
  processes.initialize()
  assert not asked
  assert 'without the package kubernetes' in caplog.text


def test_processes_join_once(asked, surroundings, monkeypatch):
  surroundings(SLURM)
  monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
  processes.initialize()
  assert not asked


def test_where_jax_has_been_used_it_goes_on_alone_and_warns(
    surroundings, caplog
):
  jax.devices()
  surroundings(SLURM)
  processes.initialize()
  assert 'Slurm announces several processes, but JAX has been' in caplog.text


def test_processes_that_do_not_come_are_an_error_that_says_what_to_do(
    surroundings, monkeypatch
):
  def fail(**_):
    raise RuntimeError('DEADLINE_EXCEEDED')

  monkeypatch.setattr(jax.distributed, 'initialize', fail)
  surroundings(SLURM)
  with pytest.raises(
      ValueError, match=r'not be joined \(DEADLINE_EXC.*--distributed=off'
  ):
    processes.initialize()


@pytest.mark.parametrize('environment', [{}, SLURM])
def test_processes_that_are_given_are_taken_as_they_are(
    environment, asked, surroundings
):
  surroundings(environment)
  processes.initialize(**GIVEN)
  assert asked == [
      {
          'coordinator_address': 'here:1',
          'num_processes': 2,
          'process_id': 1,
          'cluster_detection_method': 'deactivate',
      }
  ]


def test_given_processes_cannot_be_joined_after_jax_has_been_used():
  jax.devices()
  with pytest.raises(ValueError, match='not be joined .*Check --coordinator'):
    processes.initialize(**GIVEN)


@pytest.mark.parametrize(
    ('mode', 'changes', 'words'),
    [
        ('on', {}, '--distributed=on must be auto or off'),
        ('off', {}, '--distributed=off joins no other .* --coordinator is set'),
        (
            'auto',
            {'coordinator': None, 'process': None},
            r'--processes must come with --coordinator and --process\. Give',
        ),
        ('auto', {'processes': None}, r'must come with --processes\. Give'),
        ('auto', {'coordinator': 'here'}, '--coordinator=here must be HOST:PO'),
        ('auto', {'coordinator': ':1'}, '--coordinator=:1 must be HOST:PORT'),
        ('auto', {'coordinator': 'here:0'}, '--coordinator=here:0 must be'),
        ('auto', {'coordinator': 'a:65536'}, '--coordinator=a:65536 must be'),
        ('auto', {'processes': 0}, '--processes=0 must be at least 1'),
        ('auto', {'process': 2}, r'--process=2 must be in \[0, 2\)'),
        ('auto', {'process': -1}, r'--process=-1 must be in \[0, 2\)'),
    ],
)
def test_contradictions_are_refused_by_their_flags(mode, changes, words, asked):
  with pytest.raises(ValueError, match=words):
    processes.initialize(mode, **GIVEN | changes)
  assert not asked


@pytest.mark.process
def test_looking_for_others_starts_no_backend():
  code = (
      'from rq_jax.distributed import console, processes\n'
      'processes.initialize()\n'
      'assert console.is_first()\n'
      'import jax\n'
      'jax.distributed.initialize("localhost:1", 1, 5)\n'
  )
  done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True
  )
  # If JAX had been used already, the error would be about that.
  assert 'process_id < num_processes' in done.stderr.splitlines()[-1]
