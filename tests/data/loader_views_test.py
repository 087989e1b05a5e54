"""The loader picks one view of cached features for each position of the run."""

import numpy as np
import pytest

from rq_jax.data import loader
from rq_jax.data.sources import features
from tests import tiny
from tests.data import caches

COUNT, VIEWS, BATCH = 600, 3, 100


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """A cache of three views, whose numbers are all different."""
  folder = tmp_path_factory.mktemp('views')
  caches.write(folder, *caches.examples(COUNT, VIEWS), 2)
  return features.Features(folder, 'train')


def transform(*, train):
  data = tiny.stage2_config(data=dict(source='features', path='unused')).data
  return loader.image_transform(data, train=train)


def batches(source, step, count, index=0, of=1, **options):
  made = loader.train_batches(
      source,
      transform=transform(train=True),
      batch_size=BATCH,
      seed=1,
      step=step,
      process_index=index,
      process_count=of,
      **options,
  )
  found = [next(made)['features'] for _ in range(count)]
  made.close()
  return found


def test_the_pick_depends_only_on_the_position_in_the_run(source):
  whole = batches(source, 0, 12)
  assert whole[0].dtype == np.float32
  for position, batch in enumerate(batches(source, 5, 7), 5):
    np.testing.assert_array_equal(batch, whole[position])
  parts = [batches(source, 9, 1, index, of=2)[0] for index in range(2)]
  np.testing.assert_array_equal(np.concatenate(parts), whole[9])


@pytest.mark.process
def test_workers_pick_the_same(source):
  for one, other in zip(
      batches(source, 3, 3), batches(source, 3, 3, workers=2), strict=True
  ):
    np.testing.assert_array_equal(one, other)


def test_all_views_are_picked_equally_often_and_anew_in_each_epoch(source):
  stored = {
      row.tobytes(): (example, view)
      for example in range(COUNT)
      for view, row in enumerate(np.float32(source[example]['features']))
  }
  assert len(stored) == COUNT * VIEWS
  seen = [
      stored[row.tobytes()] for row in np.concatenate(batches(source, 0, 12))
  ]
  first, second = dict(seen[:COUNT]), dict(seen[COUNT:])
  assert len(first) == len(second) == COUNT  # Each example once per epoch.
  counts = np.bincount([view for _, view in seen])
  assert len(counts) == VIEWS
  assert np.all(np.abs(counts - 400) < 80)  # Five standard deviations.
  other = sum(first[i] != second[i] for i in range(COUNT))
  assert abs(other - 400) < 60


def test_evaluation_takes_the_first_view(source):
  made = loader.eval_batches(
      source, transform=transform(train=False), batch_size=4, count=4
  )
  expected = [np.float32(source[i]['features'][0]) for i in range(4)]
  np.testing.assert_array_equal(next(made)['features'], expected)


class Numbers:
  """The numbers from `start` on."""

  def __init__(self, start, count):
    self._numbers = np.arange(start, start + count)

  def __len__(self):
    return len(self._numbers)

  def __getitem__(self, index):
    return {'number': self._numbers[index], 'name': np.array('é', object)}


PARTS = [(Numbers(0, 5), 2), (Numbers(10, 3), 4), (Numbers(20, 2), 2)]


@pytest.mark.parametrize(
    'workers', [0, pytest.param(2, marks=pytest.mark.process)]
)
def test_no_batch_mixes_two_parts(workers):
  found = list(loader.batches_of_each(PARTS, workers=workers))
  assert [batch['number'].tolist() for batch in found] == [
      [0, 1],
      [2, 3],
      [4, 4],
      [10, 11, 12, 12],
      [20, 21],
  ]
  valid = [batch['valid'].tolist() for batch in found]
  assert valid[2:4] == [[True, False], [True, True, True, False]]
  assert all(batch['name'].tolist()[-1] == 'é' for batch in found)


def test_an_empty_part_is_refused():
  with pytest.raises(ValueError, match='data source is empty'):
    loader.batches_of_each([(Numbers(0, 0), 2)])
