"""Writes metrics as lines of JSON and for TensorBoard."""

from collections.abc import Mapping
import json
import math
import time

from etils import epath
import jax
import numpy as np

from rq_jax.data import images


class MetricWriter:
  """Writes the scalars and pictures of one run, from the first process.

  `metrics.jsonl` gets one line for each logged step: {"step": 100, "time": ...,
  "train/loss": ...}. Lines of steps that a resumed run takes again, and lines
  torn by a crash, are removed when the writer opens.
  """

  def __init__(
      self,
      workdir: str | epath.Path,
      *,
      start_step: int,
      finished: bool = False,
  ):
    """Opens the files.

    Args:
      workdir: The folder of the run.
      start_step: Steps that the run has taken.
      finished: Whether these are all, so that it only evaluates again: what it
        wrote of that evaluation before is removed.
    """
    self._active = jax.process_index() == 0
    if not self._active:
      return
    from tensorboardX import SummaryWriter  # Imports protobuf: slow.

    self._folder = epath.Path(workdir)
    file = self._folder / 'metrics.jsonl'
    kept = [
        json.dumps(line)
        for line in read_metrics(workdir)
        if line['step'] <= start_step
        and not (finished and line['step'] == start_step and _evaluates(line))
    ]
    partial = self._folder / 'metrics.jsonl.partial'
    partial.write_text(''.join(line + '\n' for line in kept))
    partial.replace(file)
    self._file = file.open('a')
    self._board = SummaryWriter(
        str(self._folder / 'tensorboard'), purge_step=start_step + 1
    )

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes the scalars of a step; numbers that are not finite as null."""
    if not self._active:
      return
    values = {name: float(value) for name, value in scalars.items()}
    finite = {n: v if math.isfinite(v) else None for n, v in values.items()}
    line = {'step': step, 'time': round(time.time(), 3), **finite}
    self._file.write(json.dumps(line) + '\n')
    self._file.flush()
    for name, value in values.items():
      self._board.add_scalar(name, value, step)

  def write_images(self, step: int, rows: Mapping[str, np.ndarray]) -> None:
    """Writes grids, given as rows of images: uint8[R, C, S, S, 3] by name."""
    if not self._active:
      return
    for name, array in rows.items():
      grid = images.grid(
          array.reshape(-1, *array.shape[2:]), columns=array.shape[1]
      )
      path = self._folder / 'images' / f'{name}_{step:08d}.png'
      images.write_png(path, grid)
      self._board.add_image(name, grid, step, dataformats='HWC')

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._active:
      self._file.close()
      self._board.close()


def _evaluates(line: Mapping[str, float]) -> bool:
  return any(name.startswith('eval/') for name in line)


def read_metrics(workdir: str | epath.Path) -> list[dict[str, float]]:
  """The lines of `metrics.jsonl`, without one that a crash tore."""
  file = epath.Path(workdir) / 'metrics.jsonl'
  lines = []
  for text in file.read_text().splitlines() if file.exists() else ():
    try:
      lines.append(json.loads(text))
    except json.JSONDecodeError:
      continue
  return lines
