"""Batches depend only on the seed and the step."""

import pickle

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from rq_jax.config import sections
from rq_jax.data import loader
from rq_jax.data import transforms
from rq_jax.data.sources import features
from rq_jax.data.sources import image_folder
from tests.data import batches as batches_lib
from tests.data import caches


class Numbers:
  """Examples whose label is their own index."""

  def __init__(self, length):
    self.length = length

  def __len__(self):
    return self.length

  def __getitem__(self, index):
    return {'label': np.int32(index)}


def _noise(example, rng):
  return {**example, 'noise': rng.random(3, np.float32)}


def test_each_epoch_is_a_new_permutation():
  batches = batches_lib.first(9, Numbers(12), batch_size=4, seed=0)
  epochs = np.stack([b['label'] for b in batches]).reshape(3, 12)
  for epoch in epochs:
    assert sorted(epoch) == list(range(12))
    assert list(epoch) != list(range(12))
  assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize('batch_size', [5, 7, 30])
def test_epochs_run_on_within_a_batch_even_a_larger_one(batch_size):
  batches = batches_lib.first(12, Numbers(12), batch_size=batch_size, seed=0)
  stream = np.concatenate([b['label'] for b in batches])
  assert len(stream) == 12 * batch_size
  for epoch in stream.reshape(batch_size, 12):
    assert sorted(epoch) == list(range(12))


def test_a_source_of_one_example_fills_every_batch():
  batches = batches_lib.first(
      2, Numbers(1), batch_size=3, seed=0, transform=_noise
  )
  assert [b['label'].tolist() for b in batches] == [[0, 0, 0]] * 2
  noise = np.concatenate([b['noise'] for b in batches])
  assert len(np.unique(noise)) == noise.size


def test_another_seed_gives_another_order_and_other_noise():
  options = {'batch_size': 16, 'transform': _noise}
  (first,) = batches_lib.first(1, Numbers(16), seed=0, **options)
  (again,) = batches_lib.first(1, Numbers(16), seed=0, **options)
  (other,) = batches_lib.first(1, Numbers(16), seed=1, **options)
  batches_lib.assert_same([again], [first])
  assert list(first['label']) != list(other['label'])
  by_label = np.argsort(first['label']), np.argsort(other['label'])
  noise = first['noise'][by_label[0]], other['noise'][by_label[1]]
  assert (noise[0] != noise[1]).all()


def test_an_example_is_transformed_anew_in_every_epoch():
  batches = batches_lib.first(
      2, Numbers(8), batch_size=8, seed=0, transform=_noise
  )
  noise = [b['noise'][np.argsort(b['label'])] for b in batches]
  assert (noise[0] != noise[1]).all()


@pytest.mark.parametrize('step', [1, 3, 7])
def test_opening_at_a_step_gives_the_batches_from_there(step):
  options = {'batch_size': 5, 'seed': 3, 'transform': _noise}
  expected = batches_lib.first(10, Numbers(12), **options)
  resumed = batches_lib.first(10 - step, Numbers(12), step=step, **options)
  batches_lib.assert_same(resumed, expected[step:])


def test_a_late_step_opens_at_once():
  step = 10**9
  (batch,) = batches_lib.first(1, Numbers(12), batch_size=12, seed=0, step=step)
  assert sorted(batch['label']) == list(range(12))


@pytest.mark.parametrize('process_count', [2, 4])
def test_processes_hold_the_rows_of_the_same_global_batches(process_count):
  options = {'batch_size': 8, 'seed': 3, 'step': 2, 'transform': _noise}
  expected = batches_lib.first(5, Numbers(12), **options)
  parts = [
      batches_lib.first(
          5,
          Numbers(12),
          process_index=i,
          process_count=process_count,
          **options,
      )
      for i in range(process_count)
  ]
  assert all(len(part[0]['label']) == 8 // process_count for part in parts)
  batches_lib.assert_same(batches_lib.joined(parts), expected)


@pytest.mark.process
def test_worker_processes_change_nothing(tmp_path):
  values = np.random.default_rng(0).normal(size=(6, 2, 2, 3))
  caches.write(tmp_path, values, np.arange(6))
  source = features.Features(tmp_path, 'train')
  options = {'batch_size': 4, 'seed': 3, 'step': 1}
  expected = batches_lib.first(5, source, **options)
  for batch in expected:
    np.testing.assert_array_equal(
        batch['features'],
        values.astype(np.float16).astype(np.float32)[batch['label']],
    )
  batches_lib.assert_same(
      batches_lib.first(5, source, workers=2, **options), expected
  )


@pytest.mark.process
def test_worker_processes_augment_photographs_alike(tmp_path):
  for i, photo in enumerate(datasets.load_sample_images().images):
    small = Image.fromarray(photo).resize((64, 48))
    small.save(tmp_path / f'{i}.jpg', quality=90)
  source = image_folder.ImageFolder(tmp_path)
  config = sections.Data(
      source='image_folder',
      image_size=32,
      crop='random_resized',
      flip=True,
      decoder='pillow',
  )
  options = {
      'batch_size': 4,
      'seed': 0,
      'transform': loader.image_transform(config, train=True),
  }
  expected = batches_lib.first(3, source, **options)
  assert expected[0]['image'].shape == (4, 32, 32, 3)
  assert expected[0]['image'].dtype == np.float32
  assert -1 <= expected[0]['image'].min() < 0 < expected[0]['image'].max() <= 1
  batches_lib.assert_same(
      batches_lib.first(3, source, workers=2, **options), expected
  )


@pytest.mark.parametrize(
    'workers', [0, pytest.param(1, marks=pytest.mark.process)]
)
def test_a_broken_file_is_named_by_the_batch_that_meets_it(tmp_path, workers):
  (tmp_path / 'broken.jpg').write_bytes(b'')
  source = image_folder.ImageFolder(tmp_path)
  batches = loader.train_batches(source, batch_size=2, seed=0, workers=workers)
  with pytest.raises(ValueError, match=r'broken\.jpg is not a JPEG, PNG'):
    next(batches)
  batches.close()


@pytest.mark.parametrize('process_count', [1, 2])
def test_evaluation_passes_over_every_example_once_in_order(process_count):
  parts = [
      batches_lib.whole_pass(
          Numbers(10),
          batch_size=4,
          process_index=i,
          process_count=process_count,
      )
      for i in range(process_count)
  ]
  batches = batches_lib.joined(parts)
  labels = np.concatenate([b['label'] for b in batches])
  valid = np.concatenate([b['valid'] for b in batches])
  assert labels.tolist() == [*range(10), 9, 9]
  assert valid.dtype == np.bool_
  assert valid.tolist() == [True] * 10 + [False] * 2


@pytest.mark.parametrize('count', [5, 8, 99])
@pytest.mark.parametrize(('batch_size', 'processes'), [(4, 1), (4, 2), (6, 1)])
def test_evaluation_may_be_limited_to_the_first_examples(
    count, batch_size, processes
):
  parts = [
      batches_lib.whole_pass(
          Numbers(10),
          batch_size=batch_size,
          count=count,
          process_index=i,
          process_count=processes,
      )
      for i in range(processes)
  ]
  batches = batches_lib.joined(parts)
  assert len(batches) == -(-min(count, 10) // batch_size)
  labels = np.concatenate([b['label'] for b in batches])
  valid = np.concatenate([b['valid'] for b in batches])
  assert labels[valid].tolist() == list(range(min(count, 10)))


def test_evaluation_batches_may_exceed_or_divide_the_source():
  (batch,) = batches_lib.whole_pass(Numbers(2), batch_size=5)
  assert batch['label'].tolist() == [0, 1, 1, 1, 1]
  assert batch['valid'].tolist() == [True, True, False, False, False]
  batches = batches_lib.whole_pass(Numbers(6), batch_size=3)
  assert [b['valid'].all() for b in batches] == [True, True]


def test_evaluation_transforms_an_example_alike_in_any_batch():
  in_threes = batches_lib.joined(
      [batches_lib.whole_pass(Numbers(6), batch_size=3, transform=_noise)]
  )
  in_twos = batches_lib.joined(
      [batches_lib.whole_pass(Numbers(6), batch_size=2, transform=_noise)]
  )
  noise = [
      np.concatenate([b['noise'] for b in batches])
      for batches in (in_threes, in_twos)
  ]
  np.testing.assert_array_equal(noise[0], noise[1])


def test_image_transform_trains_with_the_config_and_evaluates_the_center():
  config = sections.Data(
      source='image_folder',
      image_size=16,
      crop='random',
      flip=True,
      decoder='pillow',
  )
  image = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
  example = {'image': image, 'label': np.int32(4)}
  train = pickle.loads(pickle.dumps(loader.image_transform(config, train=True)))
  result = train(example, np.random.default_rng(7))
  expected = transforms.train(
      image,
      np.random.default_rng(7),
      image_size=16,
      crop='random',
      flip=True,
      decoder='pillow',
  )
  np.testing.assert_array_equal(result['image'], expected)
  assert result['label'] == 4
  assert example['image'] is image
  evaluate = loader.image_transform(config, train=False)
  np.testing.assert_array_equal(
      evaluate(example, np.random.default_rng(7))['image'],
      transforms.evaluate(image, image_size=16),
  )
  features = sections.Data(source='features')
  for train in (True, False):
    assert loader.image_transform(
        features, train=train
    ) == loader.ViewTransform(train)


@pytest.mark.parametrize('open_batches', ['train', 'eval'])
def test_impossible_batches_are_refused(open_batches):
  def batches(source, **options):
    if open_batches == 'train':
      return loader.train_batches(source, seed=0, **options)
    return loader.eval_batches(source, **options)

  with pytest.raises(ValueError, match='The data source is empty'):
    batches(Numbers(0), batch_size=4)
  with pytest.raises(ValueError, match='size=6 must .* processes, 4. Change'):
    batches(Numbers(3), batch_size=6, process_count=4)
  with pytest.raises(ValueError, match='size=0 must be a positive'):
    batches(Numbers(3), batch_size=0)
  with pytest.raises(ValueError, match=r'process_index=2 must .* \[0, 2\)'):
    batches(Numbers(3), batch_size=4, process_index=2, process_count=2)
