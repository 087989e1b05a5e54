"""Writes metrics as lines of JSON and for TensorBoard.

A log that cannot be written never stops a run. Its failure is reported once.
"""

from collections.abc import Iterator, Mapping
import contextlib
import json
import math
import time
from typing import Any

from etils import epath
import jax
import numpy as np

from rq_jax import files
from rq_jax.distributed import console
from rq_jax.reports import pictures
from rq_jax.training import tensorboard
from rq_jax.training import time_accounts


class MetricWriter:
  """Writes the scalars and pictures of one run, in the first process only.

  `metrics.jsonl` gets one line for each logged step: {"step": 100, "time": ...,
  "train/loss": ...}. On opening, the writer removes lines of steps that a
  resumed run will repeat, and lines that a crash cut off.

  No method raises an error of a file system. Lines that do not fit on a full
  disk are kept in memory and written once there is room. A picture or event
  that cannot be written is lost; the next one is tried again.
  """

  def __init__(
      self,
      workdir: epath.PathLike,
      *,
      start_step: int,
      finished: bool = False,
      accounts: time_accounts.Accounts | None = None,
  ):
    """Opens the files.

    Args:
      workdir: The folder of the run.
      start_step: Number of steps that the run has taken so far.
      finished: Whether the run has taken all its steps. It then only evaluates
        again, and the lines of its earlier last evaluation are removed.
      accounts: Accounts of the run's time, which continue those of the lines
        that are there. Their totals become part of every line.
    """
    self._active = jax.process_index() == 0
    self._closed = False
    if not self._active:
      return
    self._folder = epath.Path(workdir)
    self._accounts, self._step = accounts, start_step
    self._reported: set[str] = set()
    self._lines = _Lines(self._folder / 'metrics.jsonl')
    self._board = tensorboard.Writer(
        self._folder / 'tensorboard', first_step=start_step + 1
    )
    with self._attempt('metrics.jsonl'):
      if accounts is not None:
        accounts.carry_on(read_metrics(workdir), start_step)
      _keep_lines(
          self._lines.path, start_step, finished, self._line(start_step, {})
      )
    self._begun = self._lines.path.exists()

  def __enter__(self):
    return self

  def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
    if self._active and not self._closed and self._accounts is not None:
      ended = {} if error else {time_accounts.FINISHED: 1.0}
      self.write(self._step, ended)
    self.close()

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes the scalars of a step; numbers that are not finite become null."""
    if not self._active:
      return
    self._require_open()
    self._step = step
    values = {name: float(value) for name, value in scalars.items()}
    finite = {n: v if math.isfinite(v) else None for n, v in values.items()}
    with self._attempt('metrics.jsonl'):
      self._require_folder()
      self._lines.append(json.dumps(self._line(step, finite)))
    with self._attempt('tensorboard'):
      self._require_folder()
      self._board.write_scalars(step, values)

  def write_images(self, step: int, rows: Mapping[str, np.ndarray]) -> None:
    """Writes grids, given as rows of images: uint8[R, C, Y, X, 3] by name."""
    if not self._active:
      return
    self._require_open()
    for name, array in rows.items():
      grid = pictures.grid(
          array.reshape(-1, *array.shape[2:]), columns=array.shape[1]
      )
      with self._attempt('images'):
        self._require_folder()
        path = self._folder / 'images' / f'{name}_{step:08d}.png'
        pictures.write_png(path, grid)
      with self._attempt('tensorboard'):
        self._require_folder()
        self._board.write_image(step, name, grid)

  def close(self) -> None:
    """Closes the files; warns if lines are lost."""
    if not self._active or self._closed:
      return
    self._closed = True
    with self._attempt('metrics.jsonl'):
      self._lines.close()
    with self._attempt('tensorboard'):
      self._board.close()
    if lost := self._lines.waiting:
      console.warn(f'{lost} lines of {self._lines.path} could not be written.')

  def _line(self, step: int, values: Mapping[str, Any]) -> dict[str, Any]:
    spent = self._accounts.totals() if self._accounts else {}
    return {'step': step, 'time': round(time.time(), 3), **values, **spent}

  def _require_open(self) -> None:
    if self._closed:
      raise ValueError('The metric writer is closed. Open a new one.')

  def _require_folder(self) -> None:
    """Keeps a folder that was removed from coming back without its run."""
    if self._begun and not self._lines.path.exists():
      raise FileNotFoundError(f'{self._lines.path} was removed')

  @contextlib.contextmanager
  def _attempt(self, what: str) -> Iterator[None]:
    """Lets a log fail: reports the first failure, and ignores the others."""
    try:
      yield
    except Exception as error:  # From any file system or encoder.
      if what not in self._reported:
        self._reported.add(what)
        console.warn(
            f'{self._folder / what} cannot be written'
            f' ({" ".join(str(error).split())}). The run continues without'
            ' it, and tries again at the next logged step.'
        )


class _Lines:
  """Appends lines to a file; lines that cannot be written wait in memory.

  Attributes:
    path: The file.
  """

  def __init__(self, path: epath.Path):
    self.path = path
    self._file: Any = None
    self._waiting = b''

  @property
  def waiting(self) -> int:
    """Number of lines that are not written yet."""
    return self._waiting.count(b'\n')

  def append(self, line: str) -> None:
    """Writes a line, after the waiting ones."""
    self._waiting += f'{line}\n'.encode()
    self._flush()

  def close(self) -> None:
    """Writes the waiting lines, and closes the file."""
    try:
      if self._waiting:
        self._flush()
    finally:
      if self._file is not None:
        self._file.close()

  def _flush(self) -> None:
    if self._file is None:
      if files.is_local(self.path):
        # Without a buffer, `write` returns how many bytes reached the file.
        self._file = open(self.path, 'ab', buffering=0)  # noqa: SIM115 - open until `close`.
      else:
        self._file = self.path.open('ab')
    while self._waiting:
      count = self._file.write(self._waiting)
      self._waiting = b'' if count is None else self._waiting[count:]
    self._file.flush()


def read_metrics(workdir: epath.PathLike) -> list[dict[str, Any]]:
  """Reads the lines of `metrics.jsonl`, except those that a crash cut off."""
  file = epath.Path(workdir) / 'metrics.jsonl'
  return _parsed(file.read_bytes() if file.exists() else b'')


def _parsed(text: bytes) -> list[dict[str, Any]]:
  lines = []
  for line in text.splitlines():
    try:
      value = json.loads(line)
    except ValueError:  # Cut off, or damaged on the disk.
      continue
    if isinstance(value, dict) and isinstance(value.get('step'), int):
      lines.append(value)
  return lines


def _keep_lines(
    file: epath.Path,
    start_step: int,
    finished: bool,
    first: Mapping[str, Any],
) -> None:
  """Removes lines of steps that will be repeated, and lines cut off.

  Args:
    file: The file.
    start_step: Number of steps that the run has taken so far.
    finished: See `MetricWriter`.
    first: The first line of this program; it is only added if it holds totals
      of time. They are not lost if the program is killed here, because the file
      is replaced.
  """
  text = file.read_bytes() if file.exists() else b''
  kept = [
      json.dumps(line)
      for line in _parsed(text)
      if line['step'] <= start_step
      and not (finished and line['step'] == start_step and _evaluates(line))
  ]
  if 'time/step' in first:
    kept.append(json.dumps(first))
  rewritten = ''.join(line + '\n' for line in kept).encode()
  if rewritten == text and file.exists():
    return
  with files.whole(file) as stream:
    stream.write(rewritten)


def _evaluates(line: Mapping[str, Any]) -> bool:
  return any(name.startswith('eval/') for name in line)
