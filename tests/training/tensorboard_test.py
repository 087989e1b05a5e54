"""Event files hold all events, and continue after a full disk."""

import errno
import io
import struct

import numpy as np
import pytest
from tensorboardX import record_writer
from tensorboardX.proto import event_pb2

from rq_jax import files
from rq_jax.training import tensorboard


def events(folder):
  """All complete events of a folder, file by file."""
  found = []
  for file in sorted(folder.iterdir()):
    data = file.read_bytes()
    while data:
      # A length with its checksum, then the event with its checksum.
      size, check = struct.unpack_from('<QI', data)
      assert check == record_writer.masked_crc32c(data[:8])
      (check,) = struct.unpack_from('<I', data, 12 + size)
      assert check == record_writer.masked_crc32c(data[12 : 12 + size])
      found.append(event_pb2.Event.FromString(data[12 : 12 + size]))
      data = data[16 + size :]
  return found


def scalars(folder):
  return [
      (event.step, value.tag, value.simple_value)
      for event in events(folder)
      for value in event.summary.value
  ]


def starts(folder):
  """The steps from which TensorBoard hides earlier events."""
  return [
      event.step
      for event in events(folder)
      if event.session_log.status == event_pb2.SessionLog.START
  ]


class Full(io.BytesIO):
  """A file on a full disk: writing its buffer fails."""

  def flush(self):
    raise OSError(errno.ENOSPC, 'No space left on device')


def test_numbers_are_on_disk_at_once_with_their_step(tmp_path):
  writer = tensorboard.Writer(tmp_path / 'a', first_step=3)
  writer.write_scalars(3, {'train/loss': 0.5, 'eval/mse': 2.0})
  writer.write_scalars(4, {'train/loss': 0.25})
  assert scalars(tmp_path / 'a') == [
      (3, 'train/loss', 0.5),
      (3, 'eval/mse', 2.0),
      (4, 'train/loss', 0.25),
  ]
  writer.close()
  writer.close()


def test_earlier_runs_are_hidden_from_the_first_step_on(tmp_path):
  writer = tensorboard.Writer(tmp_path, first_step=7)
  writer.write_scalars(7, {'loss': 1.0})
  assert starts(tmp_path) == [7]
  writer.close()


def test_a_picture_is_written_with_its_size(tmp_path):
  writer = tensorboard.Writer(tmp_path, first_step=1)
  writer.write_image(1, 'recons', np.zeros((4, 6, 3), np.uint8))
  (value,) = [v for e in events(tmp_path) for v in e.summary.value]
  assert (value.tag, value.image.height, value.image.width) == ('recons', 4, 6)
  writer.close()


def test_nothing_is_opened_before_it_is_needed(tmp_path):
  tensorboard.Writer(tmp_path / 'a', first_step=1).close()
  assert not (tmp_path / 'a').exists()


def test_a_full_disk_raises_at_once_and_the_next_event_gets_a_new_file(
    tmp_path, monkeypatch
):
  writer = tensorboard.Writer(tmp_path, first_step=1)
  writer.write_scalars(1, {'loss': 1.0})
  with monkeypatch.context() as patch:
    patch.setattr(record_writer, 'open_file', lambda _: Full())
    writer.close()
    # More writes than any queue can hold.
    for step in range(2, 40):
      with pytest.raises(OSError, match='No space'):
        writer.write_scalars(step, {'loss': 2.0})
  writer.write_scalars(40, {'loss': 3.0})
  assert scalars(tmp_path) == [(1, 'loss', 1.0), (40, 'loss', 3.0)]
  assert starts(tmp_path) == [1]  # A second one would hide the first number.
  writer.close()


def test_no_file_is_begun_where_there_is_no_room(tmp_path, monkeypatch):
  writer = tensorboard.Writer(tmp_path, first_step=1)
  writer.write_scalars(1, {'loss': 1.0})
  writer.close()
  monkeypatch.setattr(files, 'free_bytes', lambda _: 1000)
  for step in range(5):
    with pytest.raises(OSError, match='No space'):
      writer.write_scalars(step, {'loss': 1.0})
  assert len(list(tmp_path.iterdir())) == 1
