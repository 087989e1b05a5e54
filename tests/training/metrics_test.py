"""`metrics.jsonl` has one whole line per step, also after crashes."""

import errno
import json

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax.training import metrics


def _write(workdir, start_step, steps, value=0.0):
  writer = metrics.MetricWriter(workdir, start_step=start_step)
  for step in steps:
    writer.write(step, {'train/loss': value})
  writer.close()


def _lines(workdir):
  text = (workdir / 'metrics.jsonl').read_text()
  assert text.endswith('\n') or not text
  return [json.loads(line) for line in text.splitlines()]


def test_a_step_is_a_line_with_its_number_its_time_and_its_scalars(tmp_path):
  writer = metrics.MetricWriter(tmp_path, start_step=0)
  writer.write(10, {'train/loss': np.float32(0.5), 'eval/accuracy': 1})
  # It is on disk at once: the run may die in the next step.
  (line,) = _lines(tmp_path)
  writer.close()
  assert list(line) == ['step', 'time', 'train/loss', 'eval/accuracy']
  assert line['step'] == 10
  assert (line['train/loss'], line['eval/accuracy']) == (0.5, 1.0)
  assert 1.6e9 < line['time'] < 1e11
  assert metrics.read_metrics(tmp_path) == [line]


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_null(tmp_path, value):
  _write(tmp_path, 0, [1], value)
  assert _lines(tmp_path)[0]['train/loss'] is None
  assert 'NaN' not in (tmp_path / 'metrics.jsonl').read_text()


def test_a_resumed_run_repeats_no_step(tmp_path):
  _write(tmp_path, 0, [10, 20, 30], value=1)
  _write(tmp_path, 20, [30, 40], value=2)
  found = [(line['step'], line['train/loss']) for line in _lines(tmp_path)]
  assert found == [(10, 1), (20, 1), (30, 2), (40, 2)]
  _write(tmp_path, 0, [], value=3)
  assert not _lines(tmp_path)


def test_a_torn_line_is_removed(tmp_path):
  _write(tmp_path, 0, [10, 20])
  file = tmp_path / 'metrics.jsonl'
  whole = _lines(tmp_path)
  file.write_text(file.read_text() + '{"step": 25, "train/lo')
  assert metrics.read_metrics(tmp_path) == whole
  _write(tmp_path, 25, [30])
  assert [line['step'] for line in _lines(tmp_path)] == [10, 20, 30]
  assert not (tmp_path / 'metrics.jsonl.partial').exists()


def test_a_run_without_metrics_has_none(tmp_path):
  assert metrics.read_metrics(tmp_path) == []


def test_rows_of_images_become_the_rows_of_a_grid(tmp_path):
  rows = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3), np.uint8)
  writer = metrics.MetricWriter(tmp_path, start_step=0)
  writer.write_images(7, {'recons': rows})
  writer.close()
  picture = np.asarray(Image.open(tmp_path / 'images' / 'recons_00000007.png'))
  assert picture.shape == (2 * 6 + 2, 3 * 6 + 2, 3)
  for row in range(2):
    for column in range(3):
      top, left = 2 + 6 * row, 2 + 6 * column
      found = picture[top : top + 4, left : left + 4]
      np.testing.assert_array_equal(found, rows[row, column])


def test_tensorboard_gets_the_same_scalars_and_pictures(tmp_path):
  writer = metrics.MetricWriter(tmp_path, start_step=0)
  writer.write(3, {'train/loss': 0.25})
  writer.write_images(3, {'recons': np.zeros((1, 1, 4, 4, 3), np.uint8)})
  writer.close()
  (file,) = (tmp_path / 'tensorboard').glob('events.out.tfevents*')
  content = file.read_bytes()
  assert b'train/loss' in content and b'recons' in content
  assert np.float32(0.25).tobytes() in content


def full(*_, **__):
  raise OSError(errno.ENOSPC, 'No space left on device')


def test_a_full_disk_is_reported_once_and_stops_nothing(
    tmp_path, monkeypatch, caplog
):
  writer = metrics.MetricWriter(tmp_path, start_step=0)
  with monkeypatch.context() as patch:
    patch.setattr(metrics.tensorboard.Writer, '_open', full)
    patch.setattr(metrics._Lines, '_flush', full)
    patch.setattr(metrics.pictures, 'write_png', full)
    # More writes than any queue can hold.
    for step in range(1, 40):
      writer.write(step, {'train/loss': float(step)})
      writer.write_images(step, {'r': np.zeros((1, 1, 4, 4, 3), np.uint8)})
  reported = caplog.text
  for name in ('metrics.jsonl', 'tensorboard', 'images'):
    assert reported.count(f'{tmp_path / name} cannot be written') == 1
  # Once there is room, no line is missing.
  writer.write(40, {'train/loss': 40.0})
  writer.close()
  found = [(line['step'], line['train/loss']) for line in _lines(tmp_path)]
  assert found == [(step, step) for step in range(1, 41)]
  assert caplog.text == reported


def test_lines_that_stay_unwritten_are_counted_in_the_end(
    tmp_path, monkeypatch, caplog
):
  writer = metrics.MetricWriter(tmp_path, start_step=0)
  monkeypatch.setattr(metrics._Lines, '_flush', full)
  for step in (1, 2, 3):
    writer.write(step, {'train/loss': 0.0})
  writer.close()
  assert '3 lines of ' in caplog.text


def test_a_line_that_was_written_in_part_is_completed(tmp_path, monkeypatch):
  writer = metrics.MetricWriter(tmp_path, start_step=0)
  writer.write(1, {'train/loss': 1.0})

  class Nearly:
    """A file on a disk with room for ten bytes."""

    def __init__(self, file):
      self.file, self.room = file, 10

    def write(self, data):
      if not self.room:
        full()
      count = self.file.write(data[: self.room])
      self.room -= count
      return count

    def flush(self):
      self.file.flush()

  file = writer._lines._file
  writer._lines._file = Nearly(file)
  writer.write(2, {'train/loss': 2.0})
  assert (tmp_path / 'metrics.jsonl').read_bytes().endswith(b'\n{"step": 2')
  writer._lines._file = file
  writer.write(3, {'train/loss': 3.0})
  writer.close()
  assert [line['step'] for line in _lines(tmp_path)] == [1, 2, 3]


def test_a_log_that_cannot_be_cleaned_stops_nothing(
    tmp_path, monkeypatch, caplog
):
  _write(tmp_path, 0, [1, 2])
  monkeypatch.setattr(metrics.files, 'whole', full)
  _write(tmp_path, 1, [2])
  assert [line['step'] for line in _lines(tmp_path)] == [1, 2, 2]
  assert 'metrics.jsonl cannot be written' in caplog.text
  caplog.clear()
  # A file without lines to remove is not rewritten, so it needs no room.
  _write(tmp_path, 2, [3])
  assert not caplog.records


def test_lines_that_are_no_metrics_are_removed(tmp_path):
  _write(tmp_path, 0, [1])
  file = tmp_path / 'metrics.jsonl'
  file.write_bytes(file.read_bytes() + b'[1]\n{"step": "x"}\n\xff\xfe\n')
  _write(tmp_path, 1, [2])
  assert [line['step'] for line in _lines(tmp_path)] == [1, 2]


def test_a_closed_writer_takes_no_more(tmp_path):
  writer = metrics.MetricWriter(tmp_path, start_step=0)
  writer.close()
  with pytest.raises(ValueError, match='closed'):
    writer.write(1, {'train/loss': 0.0})


def test_only_the_first_process_writes(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  writer = metrics.MetricWriter(tmp_path, start_step=0)
  writer.write(1, {'train/loss': 0.0})
  writer.write_images(1, {'recons': np.zeros((1, 1, 4, 4, 3), np.uint8)})
  writer.close()
  assert not list(tmp_path.iterdir())
