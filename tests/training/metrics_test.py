"""Metrics are whole lines, one for each step, whatever happened to the run."""

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
  # On disk at once, should the run die in the next step.
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
