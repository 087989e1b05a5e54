"""How the processes of a program find each other, and wait for each other."""

from collections.abc import Callable
import os
from typing import Any

import jax
import numpy as np

from rq_jax.distributed import console
from rq_jax.distributed import launchers
from rq_jax.distributed import peers

# In errors of Gloo, of NCCL and of JAX's coordination service.
_LOST = (
    'Connection closed by peer',
    'Connection reset by peer',
    'Gloo context initialization failed',
    'remote process exited',
    'another task died',
    'heartbeat timeout',
)
# Libraries that connect the processes; errors of storage do not name them.
_TRANSPORTS = ('Gloo', 'NCCL')


def initialize(
    mode: str = 'auto',
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> None:
  """Joins the processes of a program; call it before any use of JAX.

  Nothing happens if this process is the only one, or if it has joined already.

  Args:
    mode: 'auto' joins the processes that Slurm, MPI, an indexed job of
      Kubernetes (JobSets consist of these) or a TPU pod announces; if none of
      them announces several, this process works alone. 'off' joins none.
    coordinator: HOST:PORT of the first process. If it is given, together with
      `processes` and `process`, announced processes are ignored.
    processes: Number of processes.
    process: Number of this process, from 0.

  Raises:
    ValueError: If the arguments contradict each other, or the processes do not
      find each other within five minutes.
  """
  given = {
      '--coordinator': coordinator,
      '--processes': processes,
      '--process': process,
  }
  if _check(mode, given):
    _join(
        'Check --coordinator, --processes and --process, which you must give'
        ' to every process.',
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
    raise ValueError(
        f'--distributed={mode} must be auto or off. Change --distributed.'
    )
  present = [name for name, value in given.items() if value is not None]
  if not present:
    return False
  if mode == 'off':
    raise ValueError(
        f'--distributed=off joins no other process, but {present[0]} is set.'
        ' Leave one of the two out.'
    )
  if missing := [name for name in given if name not in present]:
    raise ValueError(
        f'{" and ".join(present)} must come with {" and ".join(missing)}. Give'
        ' all three, or none to join the processes that a cluster announces.'
    )
  coordinator, processes, process = given.values()
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise ValueError(
        f'--coordinator={coordinator} must be HOST:PORT, an address of the'
        ' first process. Write, for example, --coordinator=localhost:9876.'
    )
  if processes < 1:
    raise ValueError(
        f'--processes={processes} must be at least 1. Change --processes.'
    )
  if not 0 <= process < processes:
    raise ValueError(
        f'--process={process} must be in [0, {processes}), because --processes'
        f' is {processes}. Number the processes from 0.'
    )
  return True


def _join_announced() -> None:
  """Joins the processes that are announced, if there are any."""
  launcher = launchers.announced(os.environ)
  if launcher is None:
    return
  try:
    _join(
        f'{launcher.name} announces several processes. Set --distributed=off to'
        ' continue without the others, or name them with --coordinator,'
        ' --processes and --process.',
        cluster_detection_method=launcher.method,
    )
  except _TooLateError:  # For example, in a notebook.
    console.warn(
        f'{launcher.name} announces several processes, but JAX has been used in'
        ' this one already. This process continues without the others.'
    )
    return
  # On Google Cloud, this machine may be the only one.
  if (count := jax.process_count()) > 1:
    console.tell(
        f'{count} processes work together, announced by {launcher.name}.'
    )


class _TooLateError(ValueError):
  """JAX has been used already, so it is too late to join processes."""


def _join(advice: str, **arguments: Any) -> None:
  """Initialises JAX for several processes; rewords its errors."""
  try:
    jax.distributed.initialize(**arguments)
  except Exception as error:  # From JAX, Kubernetes, MPI or HTTP.
    kind = _TooLateError if 'before any JAX calls' in str(error) else ValueError
    raise kind(
        f'The processes could not be joined ({error}). {advice}'
    ) from error
  peers.watch()


def is_lost(error: BaseException) -> bool:
  """Whether JAX reports by an error that another process has stopped.

  The error appears in the next operation that all processes take part in, or is
  the cause of one of ours. JAX raises a `RuntimeError` when it dispatches a
  program, and a `ValueError` when it reads an array of a program that failed.
  Errors of storage, such as a `ConnectionResetError` or a `ValueError` of
  TensorStore, may have the same words.
  """
  if not jax.distributed.is_initialized() or jax.process_count() == 1:
    return False
  reason: BaseException | None = error
  while reason is not None:
    if _names_a_lost_process(reason):
      return True
    reason = reason.__cause__ or reason.__context__
  return False


def _names_a_lost_process(error: BaseException) -> bool:
  """Whether the message of one error, not of its causes, says so."""
  text = str(error)
  from_jax = isinstance(error, RuntimeError) or (
      isinstance(error, ValueError) and any(t in text for t in _TRANSPORTS)
  )
  return from_jax and any(words in text for words in _LOST)


class OtherFailedError(ValueError):
  """An action failed in another process, which reports the reason.

  Attributes:
    reason: The message if this program goes on nevertheless.
  """

  def __init__(self, number: int):
    """Makes the message; `number` is the process where the action failed."""
    which = f'Process {number}' if number else 'The first process'
    super().__init__(f'{which} has stopped. Its message gives the reason.')
    self.reason = f'{which} could not do its part. Its message says why.'


def wait_for_all(point: str) -> None:
  """Blocks until all processes have reached this point of the program."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(point)


def together(action: Callable[[], Any]) -> None:
  """Runs an action in all processes; if it fails in one, it fails in all.

  All processes wait until all of them are done.

  Args:
    action: Function to run.

  Raises:
    OtherFailedError: In a process where the action succeeded, if it failed in
      another one. Where it failed, its own error is raised.
  """
  error = None
  try:
    action()
  except Exception as failure:  # The others must learn of any failure.
    error = failure
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    failed = multihost_utils.process_allgather(np.array(error is not None))
    if error is None and failed.any():
      raise OtherFailedError(int(np.argmax(failed)))
  if error is not None:
    raise error


def first_problem(reason: str | None) -> str | None:
  """Why something failed in this process or in another one; None if nowhere.

  All processes wait until all of them have called it.

  Args:
    reason: Why it failed in this process; None if it did not.
  """
  if jax.process_count() == 1:
    return reason
  from jax.experimental import multihost_utils

  failed = multihost_utils.process_allgather(np.array(reason is not None))
  if reason is None and failed.any():
    return f'process {int(np.argmax(failed))} of {len(failed)} cannot read it'
  return reason


def only_first(action: Callable[[], Any]) -> None:
  """Runs an action in the first process; if it fails there, all processes fail.

  Args:
    action: Function to run.

  Raises:
    OtherFailedError: In the other processes, if the action failed in the first.
      In the first process, the action's own error is raised.
  """

  def act() -> None:
    if jax.process_index() == 0:
      action()

  together(act)
