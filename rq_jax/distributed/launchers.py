"""Which launcher of several processes has started this one."""

from collections.abc import Mapping
import importlib.util
from typing import NamedTuple

from rq_jax.distributed import console

_SLURM = (
    'SLURM_JOB_ID',
    'SLURM_STEP_NODELIST',
    'SLURM_NTASKS',
    'SLURM_PROCID',
    'SLURM_LOCALID',
)


class Launcher(NamedTuple):
  """A launcher of several processes, and JAX's method to detect it."""

  name: str
  method: str | None = None


def announced(environment: Mapping[str, str]) -> Launcher | None:
  """Returns the launcher that announces several processes; None without one.

  JAX's own detection would also start its service for a single task of Slurm,
  fail in pods that are not part of a job, and wait for the tasks of an
  allocation in which only a shell runs. So it is used only if there are several
  processes.
  """

  def number(*names: str) -> int:
    found = [environment[name] for name in names if name in environment]
    return int(found[0]) if found and found[0].isdecimal() else 1

  in_slurm = all(name in environment for name in _SLURM)
  # An interactive step has one task, whatever the allocation has.
  tasks = number('SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS') if in_slurm else 1
  # MPI comes first: within Slurm, `mpirun` starts its processes from one task
  # per node. `srun` sets PMI_SIZE, too, to the number of tasks.
  if number('OMPI_COMM_WORLD_SIZE') > 1 or number('PMI_SIZE') > tasks:
    # Without it, JAX needs the package mpi4py.
    known = 'OMPI_MCA_orte_hnp_uri' in environment
    return Launcher('MPI', 'ompi' if known else 'mpi4py')
  if in_slurm:
    return Launcher('Slurm', 'slurm') if tasks > 1 else None
  platforms = environment.get('JAX_PLATFORMS') or 'tpu'
  if 'tpu' in platforms and _is_there('libtpu'):
    hosts = environment.get('TPU_PROCESS_ADDRESSES')
    hosts = hosts or environment.get('TPU_WORKER_HOSTNAMES')
    if hosts:
      several = len(hosts.split(',')) * number('MEGASCALE_NUM_SLICES') > 1
      return Launcher('GKE', 'gketpu') if several else None
    # JAX sets this where there is no TPU. Elsewhere, the metadata server of
    # Google Cloud knows the number of hosts.
    if 'TPU_SKIP_MDS_QUERY' not in environment:
      return Launcher('Google Cloud', 'gcetpu')
  if {'KUBERNETES_SERVICE_HOST', 'JOB_COMPLETION_INDEX'} <= {*environment}:
    if _is_there('kubernetes'):
      return Launcher('Kubernetes')
    console.warn(
        'This pod belongs to an indexed job, but its other pods cannot be found'
        ' without the package kubernetes. This process continues without them.'
        ' Install jax[k8s], or give --coordinator, --processes and --process.'
    )
  return None


def _is_there(package: str) -> bool:
  return importlib.util.find_spec(package) is not None
