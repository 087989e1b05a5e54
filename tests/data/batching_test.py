"""Batches stop their threads and workers when reading fails."""

import pytest

from rq_jax.data import batching
from rq_jax.data import image_files


class Failing:
  """An iterator of Grain whose first batch is an error."""

  def __init__(self, error):
    self.error, self.closed = error, False

  def __next__(self):
    raise self.error

  def close(self):
    self.closed = True


@pytest.mark.parametrize(
    ('error', 'kind', 'words'),
    [
        (
            image_files.BrokenImageError('x.jpg is damaged.'),
            image_files.BrokenImageError,
            r'^x\.jpg is damaged\.$',
        ),
        (
            RuntimeError('Worker process was terminated: exit code -9.'),
            ChildProcessError,
            'with exit code -9.*lower --config.data.workers',
        ),
    ],
)
def test_after_an_error_nothing_goes_on(error, kind, words):
  iterator = Failing(error)
  with pytest.raises(kind, match=words) as found:
    next(batching.Batches(iterator))
  assert iterator.closed
  # Grain's error would keep its queues alive.
  assert found.value is not error and found.value.__context__ is None


def test_other_errors_stay_as_they_are():
  error = RuntimeError('Something else.')
  with pytest.raises(RuntimeError) as found:
    next(batching.Batches(Failing(error)))
  assert found.value is error
