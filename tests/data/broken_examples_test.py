"""Broken examples are replaced by a rule, marked, and named once."""

import logging

import numpy as np
import pytest

from rq_jax.data import broken_examples
from rq_jax.data import image_files
from rq_jax.data import loader

REASON = broken_examples.REASON


class Numbers:
  """Examples whose label is their index; some of them are broken."""

  def __init__(self, length, broken=()):
    self.length, self.broken = length, set(broken)

  def __len__(self):
    return self.length

  def __getitem__(self, index):
    if index in self.broken:
      raise image_files.BrokenImageError(f'{index}.jpg is damaged.')
    return {'label': np.int32(index)}


def replacement(index, length, broken):
  """The example that takes the place of another one."""
  while index in broken:
    index = (index + 1) % length
  return index


def _noise(example, rng):
  return {**example, 'noise': rng.random(3, np.float32)}


def _take(count, source, **options):
  batches = loader.train_batches(source, **options)
  taken = [next(batches) for _ in range(count)]
  batches.close()
  return taken


def test_the_next_example_that_can_be_read_takes_the_place_of_a_broken_one():
  broken = {2, 3, 9}
  source = broken_examples.Replaced(Numbers(10, broken), max_errors=5)
  assert len(source) == 10
  labels = [int(source[i]['label']) for i in range(10)]
  assert labels == [0, 1, 4, 4, 4, 5, 6, 7, 8, 0]
  for i in range(10):
    reason = f'{i}.jpg is damaged.' if i in broken else None
    assert source[i][REASON].item() == reason


@pytest.mark.parametrize('max_errors', [0, 1, 2])
def test_more_broken_examples_in_a_row_than_allowed_are_an_error(max_errors):
  broken = range(3, 3 + max_errors)
  source = broken_examples.Replaced(Numbers(9, broken), max_errors=max_errors)
  assert source[3]['label'] == 3 + max_errors
  source.source.broken.add(3 + max_errors)
  with pytest.raises(
      image_files.BrokenImageError,
      match=rf'^{max_errors + 1} .*max_errors={max_errors} .* 3\.jpg is dam',
  ):
    source[3]


def test_a_source_without_any_whole_example_is_an_error():
  source = broken_examples.Replaced(Numbers(3, range(3)), max_errors=1000)
  with pytest.raises(
      image_files.BrokenImageError, match=r'None of the 3 .* 1\.jpg is dam'
  ):
    source[1]


def test_other_errors_are_no_broken_examples():
  class Failing(Numbers):

    def __getitem__(self, index):
      raise ValueError('A cache is damaged.')

  source = broken_examples.Replaced(Failing(3), max_errors=1000)
  with pytest.raises(ValueError, match='A cache is damaged'):
    source[0]


def test_training_replaces_and_marks_examples_and_keeps_their_augmentation():
  broken = {1, 2, 11}
  options = dict(batch_size=5, seed=0, transform=_noise)
  whole = _take(7, Numbers(12), **options)
  batches = _take(7, Numbers(12, broken), max_errors=2, **options)
  for batch, reference in zip(batches, whole):
    drawn = reference['label']
    assert batch['label'].tolist() == [
        replacement(i, 12, broken) for i in drawn
    ]
    assert batch['replaced'].dtype == np.bool_
    assert batch['replaced'].tolist() == [i in broken for i in drawn]
    np.testing.assert_array_equal(batch['noise'], reference['noise'])
    assert REASON not in batch


def test_without_broken_examples_nothing_changes_but_the_mark():
  options = dict(batch_size=5, seed=0, transform=_noise)
  whole = _take(3, Numbers(12), **options)
  batches = _take(3, Numbers(12), max_errors=0, **options)
  for batch, reference in zip(batches, whole):
    assert not batch.pop('replaced').any()
    assert batch.keys() == reference.keys()
    for name, value in batch.items():
      np.testing.assert_array_equal(value, reference[name])


def test_each_broken_example_is_named_once(caplog):
  with caplog.at_level(logging.WARNING):
    _take(12, Numbers(6, {1, 4}), batch_size=4, seed=0, max_errors=2)
  messages = [record.getMessage() for record in caplog.records]
  assert sorted(messages) == [
      'Skipped: 1.jpg is damaged.',
      'Skipped: 4.jpg is damaged.',
  ]


@pytest.mark.parametrize('broken', [{2, 3}, {5}, {9}])
def test_evaluation_leaves_out_replaced_examples(broken):
  """The last of the ten examples also fills up the last batch."""
  batches = loader.eval_batches(
      Numbers(10, broken), batch_size=4, max_errors=2, transform=_noise
  )
  found = list(batches)
  batches.close()
  joined = {n: np.concatenate([b[n] for b in found]) for n in found[0]}
  indices = [*range(10), 9, 9]
  labels = [replacement(i, 10, broken) for i in indices]
  assert joined['label'].tolist() == labels
  valid = [i not in broken for i in range(10)] + [False] * 2
  assert joined['valid'].tolist() == valid
  replaced = [i in broken for i in range(10)] + [False] * 2
  assert joined['replaced'].tolist() == replaced


def test_without_a_limit_the_first_broken_example_is_an_error():
  batches = loader.train_batches(Numbers(3, {0, 1, 2}), batch_size=1, seed=0)
  with pytest.raises(image_files.BrokenImageError, match='jpg is damaged') as e:
    next(batches)
  batches.close()
  # Neither the frames of Grain nor the original error.
  assert e.value.__context__ is None
  assert [entry.path.name for entry in e.traceback[1:]] == ['batching.py']
