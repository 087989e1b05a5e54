"""What the processes of a program do together; how they find each other."""

from collections.abc import Callable, Mapping
import importlib.util
import os
from typing import Any, NamedTuple

import jax
import numpy as np

from rq_jax.distributed import console

_SLURM = (
    'SLURM_JOB_ID',
    'SLURM_STEP_NODELIST',
    'SLURM_NTASKS',
    'SLURM_PROCID',
    'SLURM_LOCALID',
)


class _Launcher(NamedTuple):
  """Who started several processes, and JAX's method of asking it."""

  name: str
  method: str | None = None


def initialize(
    mode: str = 'auto',
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> None:
  """Joins the processes of a program; before any other call of JAX.

  Nothing happens where this process is on its own, or has joined before.

  Args:
    mode: 'auto' joins the processes that Slurm, MPI, an indexed job of
      Kubernetes (of which JobSets consist) or a TPU pod announces; if none
      announces several, this process goes on without others. 'off' joins none.
    coordinator: HOST:PORT of the first process. With `processes` and `process`,
      it is used as given, and nothing else is asked.
    processes: How many there are.
    process: The number of this one, from 0.

  Raises:
    ValueError: If the arguments contradict each other, or the processes that
      are announced do not find each other within five minutes.
  """
  given = {
      '--coordinator': coordinator,
      '--processes': processes,
      '--process': process,
  }
  if _check(mode, given):
    _join(
        'Check --coordinator, --processes and --process, which every process'
        ' needs.',
        coordinator_address=coordinator,
        num_processes=processes,
        process_id=process,
        cluster_detection_method='deactivate',
    )
  elif mode == 'auto' and not jax.distributed.is_initialized():
    _join_announced()


def _check(mode: str, given: dict[str, Any]) -> bool:
  """Refuses contradictions; returns whether the processes are given."""
  if mode not in ('auto', 'off'):
    raise ValueError(f'--distributed={mode} must be auto or off. Change it.')
  present = [name for name, value in given.items() if value is not None]
  if not present:
    return False
  if mode == 'off':
    raise ValueError(
        f'--distributed=off joins no other process, but {present[0]} is set:'
        ' leave one of them out.'
    )
  if missing := [name for name in given if name not in present]:
    raise ValueError(
        f'{" and ".join(present)} must come with {" and ".join(missing)}: give'
        ' all three, or none to take what the cluster announces.'
    )
  coordinator, processes, process = given.values()
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise ValueError(
        f'--coordinator={coordinator} must be HOST:PORT, an address of the'
        ' first process, such as --coordinator=localhost:9876.'
    )
  if processes < 1:
    raise ValueError(f'--processes={processes} must be at least 1. Change it.')
  if not 0 <= process < processes:
    raise ValueError(
        f'--process={process} must be in [0, {processes}), as --processes is'
        f' {processes}. Number the processes from 0.'
    )
  return True


def _join_announced() -> None:
  """Joins the processes that are announced, if there are any."""
  launcher = _announced(os.environ)
  if launcher is None:
    return
  try:
    _join(
        f'{launcher.name} announces several processes; set --distributed=off if'
        ' this one is to go on without the others, or name them with'
        ' --coordinator, --processes and --process.',
        cluster_detection_method=launcher.method,
    )
  except _TooLateError:  # As in a notebook that has used JAX.
    console.warn(
        f'{launcher.name} announces several processes, but JAX has been used in'
        ' this one already, so it goes on without the others.'
    )
    return
  # A machine of Google Cloud may turn out to be the only one.
  if (count := jax.process_count()) > 1:
    console.tell(
        f'{count} processes work together, as {launcher.name} announces.'
    )


class _TooLateError(ValueError):
  """JAX has been used, so that no processes can be joined any more."""


def _join(advice: str, **arguments: Any) -> None:
  """Initialises JAX; rewords what goes wrong, of which there is a lot."""
  try:
    jax.distributed.initialize(**arguments)
  except Exception as error:  # Of JAX, Kubernetes, MPI or an HTTP request.
    kind = _TooLateError if 'before any JAX calls' in str(error) else ValueError
    raise kind(
        f'The processes could not be joined ({error}). {advice}'
    ) from error


def _announced(environment: Mapping[str, str]) -> _Launcher | None:
  """Who announces several processes; None if nobody does.

  JAX itself would also join one task of Slurm to nobody, fail in pods that are
  no part of a job, and wait for the tasks of an allocation in which only a
  shell runs. So it is asked only where there is more than one process.
  """

  def number(*names: str) -> int:
    found = [environment[name] for name in names if name in environment]
    return int(found[0]) if found and found[0].isdecimal() else 1

  in_slurm = all(name in environment for name in _SLURM)
  # An interactive step has one task, whatever the allocation has.
  tasks = number('SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS') if in_slurm else 1
  # MPI first: within Slurm, `mpirun` starts its processes in a task of each
  # node. PMI_SIZE is also set by `srun`, to the number of tasks.
  if number('OMPI_COMM_WORLD_SIZE') > 1 or number('PMI_SIZE') > tasks:
    # Without it, JAX has to ask the package mpi4py.
    known = 'OMPI_MCA_orte_hnp_uri' in environment
    return _Launcher('MPI', 'ompi' if known else 'mpi4py')
  if in_slurm:
    return _Launcher('Slurm', 'slurm') if tasks > 1 else None
  platforms = environment.get('JAX_PLATFORMS') or 'tpu'
  if 'tpu' in platforms and _is_there('libtpu'):
    hosts = environment.get('TPU_PROCESS_ADDRESSES')
    hosts = hosts or environment.get('TPU_WORKER_HOSTNAMES')
    if hosts:
      several = len(hosts.split(',')) * number('MEGASCALE_NUM_SLICES') > 1
      return _Launcher('GKE', 'gketpu') if several else None
    # JAX sets this where there is no TPU; elsewhere, the metadata server of
    # Google Cloud knows how many hosts there are.
    if 'TPU_SKIP_MDS_QUERY' not in environment:
      return _Launcher('Google Cloud', 'gcetpu')
  if {'KUBERNETES_SERVICE_HOST', 'JOB_COMPLETION_INDEX'} <= {*environment}:
    if _is_there('kubernetes'):
      return _Launcher('Kubernetes')
    console.warn(
        'This pod belongs to an indexed job, but without the package kubernetes'
        ' its other pods cannot be found: it goes on without them. Install'
        ' jax[k8s], or give --coordinator, --processes and --process.'
    )
  return None


def _is_there(package: str) -> bool:
  return importlib.util.find_spec(package) is not None


def wait_for_all(point: str) -> None:
  """Blocks until all processes are at the same point of the program."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(point)


def only_first(action: Callable[[], Any]) -> None:
  """Runs something in the first process; if it fails there, it fails in all.

  Args:
    action: What to run.

  Raises:
    ValueError: In the other processes, if the action failed in the first. In
      the first process, the action's own error is raised.
  """
  error = None
  try:
    if jax.process_index() == 0:
      action()
  except Exception as failure:  # The others must hear of any.
    error = failure
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    wrong = np.array(error is not None)
    if multihost_utils.broadcast_one_to_all(wrong) and jax.process_index():
      raise ValueError('The first process has stopped; its message says why.')
  if error is not None:
    raise error
