"""The figures of the quickstart, against loops and hand-made cases."""

import itertools
import math

import numpy as np
import pytest

from rq_jax.jobs.quickstart import digits

KEYS = {
    'classifier_accuracy',
    'class_accuracy',
    'diversity_mean',
    'diversity_min',
    'novelty',
    'trained_on_generated',
}


def _random(n, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def _flat(*levels):
  """Images of one grey level each, so distances are 8 x the difference."""
  levels = np.asarray(levels, np.uint8)
  return np.broadcast_to(levels[:, None, None, None], (len(levels), 32, 32, 3))


def _small(image):
  """Reference: the 64 area means of one image, by loops over blocks."""
  return [
      np.mean(image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].astype(float)) / 255
      for y in range(8)
      for x in range(8)
  ]


def _distance(a, b):
  return math.dist(_small(a), _small(b))


def _mean_pair(batch):
  pairs = itertools.combinations(batch, 2)
  return np.mean([_distance(a, b) for a, b in pairs])


@pytest.fixture(scope='module')
def real():
  """(train images, train labels, test images, test labels) of real digits."""
  datasets = pytest.importorskip('sklearn.datasets')
  data = datasets.load_digits()
  grey = np.kron(data.images, np.ones((4, 4))) / 16 * 255
  pictures = np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)
  test = np.arange(len(pictures)) % 5 == 4
  return pictures[~test], data.target[~test], pictures[test], data.target[test]


def test_downsample_is_the_mean_of_each_block():
  batch = _random(3)
  expected = [_small(image) for image in batch]
  np.testing.assert_allclose(digits.downsample(batch), expected, rtol=1e-12)


def test_downsample_maps_white_to_one_and_black_to_zero():
  np.testing.assert_array_equal(
      digits.downsample(_flat(255, 0)), [[1.0] * 64, [0.0] * 64]
  )


@pytest.mark.parametrize(
    'images',
    [
        np.zeros((2, 32, 32, 3), np.float32),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((2, 32, 40, 3), np.uint8),
        np.zeros((2, 30, 30, 3), np.uint8),
    ],
)
def test_downsample_refuses_other_types_and_shapes(images):
  with pytest.raises(ValueError, match='multiple of 8'):
    digits.downsample(images)


def test_diversity_is_the_ratio_of_mean_pair_distances_per_class():
  ours, theirs = _random(7, seed=1) // 2, _random(8, seed=2)
  our_labels = np.array([4, 9, 4, 9, 9, 4, 9])
  their_labels = np.array([9, 4, 9, 4, 4, 9, 4, 4])
  ratios = [
      _mean_pair(ours[our_labels == c]) / _mean_pair(theirs[their_labels == c])
      for c in (4, 9)
  ]
  mean, minimum = digits.diversity(ours, our_labels, theirs, their_labels)
  np.testing.assert_allclose(mean, np.mean(ratios), rtol=1e-12)
  np.testing.assert_allclose(minimum, min(ratios), rtol=1e-12)


def test_diversity_of_a_class_drawn_twice_alike_is_zero():
  labels = np.array([0, 0, 1, 1])
  mean, minimum = digits.diversity(
      _flat(7, 7, 0, 40), labels, _flat(0, 20, 0, 20), labels
  )
  assert (mean, minimum) == pytest.approx((1.0, 0.0))


def test_diversity_names_the_class_with_too_few_images():
  with pytest.raises(ValueError, match='class 3 has 1 generated and 2 real'):
    digits.diversity(
        _flat(1, 2, 3), np.array([2, 2, 3]), _random(4), np.array([2, 2, 3, 3])
    )


def test_novelty_is_the_ratio_of_median_nearest_distances():
  ours, train, held_out = _random(5, 1), _random(6, 2), _random(4, 3) // 2
  nearest = [
      np.median([min(_distance(image, t) for t in train) for image in batch])
      for batch in (ours, held_out)
  ]
  np.testing.assert_allclose(
      digits.novelty(ours, train, held_out),
      nearest[0] / nearest[1],
      rtol=1e-12,
  )


def test_novelty_of_copies_is_zero_and_of_twice_as_far_is_two():
  train, held_out = _flat(0, 100), _flat(10, 90, 110)
  assert digits.novelty(train, train, held_out) == 0
  far = digits.novelty(_flat(20, 80, 120), train, held_out)
  assert far == pytest.approx(2)


def test_classifier_reads_held_out_real_digits(real):
  train, labels, test, test_labels = real
  judge = digits.train_classifier(train, labels)
  assert digits.accuracy(judge, test, test_labels) >= 0.97


def test_accuracy_is_the_share_of_right_answers(real):
  train, labels, *_ = real
  judge = digits.train_classifier(train, labels)
  answers = judge.predict(digits.downsample(train[:10]))
  wrong = np.where(np.arange(10) < 3, (answers + 1) % 10, answers)
  assert digits.accuracy(judge, train[:10], wrong) == pytest.approx(0.7)


def test_figures_of_unseen_real_digits_meet_every_target(real):
  """Half of the held-out digits stand in for samples, judged by the others."""
  train, labels, test, test_labels = real
  found = digits.figures(
      test[::2], test_labels[::2], train, labels, test[1::2], test_labels[1::2]
  )
  assert set(found) == KEYS
  assert found['diversity_mean'] == pytest.approx(1, abs=0.05)
  assert found['novelty'] == pytest.approx(1, abs=0.1)
  # So few digits teach less than the thousand that a quickstart draws.
  assert found['trained_on_generated'] > 0.85
  failed = {k for k in KEYS if not digits.TARGETS[k].met(found[k])}
  assert failed <= {'trained_on_generated'}


def test_figures_of_shuffled_labels_and_copies_fail(real):
  train, labels, test, test_labels = real
  shifted = (labels + 1) % 10
  found = digits.figures(train, shifted, train, labels, test, test_labels)
  assert found['class_accuracy'] < 0.02
  assert found['trained_on_generated'] < 0.02
  assert found['novelty'] == 0
  assert found['classifier_accuracy'] >= 0.97


@pytest.mark.parametrize(
    ('key', 'value', 'met'),
    [
        ('class_accuracy', 0.95, True),
        ('class_accuracy', 0.949, False),
        ('classifier_accuracy', 0.97, True),
        ('classifier_accuracy', 0.969, False),
        ('diversity_mean', 0.85, True),
        ('diversity_mean', 0.849, False),
        ('diversity_mean', 1.15, True),
        ('diversity_mean', 1.151, False),
        ('diversity_min', 0.75, True),
        ('diversity_min', 0.749, False),
        ('novelty', 0.9, True),
        ('novelty', 0.899, False),
        ('novelty', math.nan, False),
        ('trained_on_generated', 0.93, True),
        ('trained_on_generated', 0.929, False),
        ('psnr_by_depth', [20, 21, 22, 25], True),
        ('psnr_by_depth', [20, 21, 22, 24.9], False),
        ('psnr_by_depth', [20, 22, 22, 26], False),
        ('psnr_by_depth', [20, 30, 29, 31], False),
        ('psnr_by_depth', [], False),
        ('psnr_by_depth', [math.nan, 21, 22, 26], False),
        ('quantization_gap', 1.1, True),
        ('quantization_gap', 1.11, False),
        ('codebook_perplexity', 0.5, True),
        ('codebook_perplexity', 0.49, False),
    ],
)
def test_targets_are_met_up_to_their_limits(key, value, met):
  assert digits.TARGETS[key].met(value) is met


def test_verdicts_are_of_the_figures_in_order_and_fail_what_is_missing():
  report = {'novelty': 0.9, 'quantization_gap': 1.2}
  found = digits.verdicts(report)
  assert list(found) == list(digits.TARGETS)
  assert [key for key, met in found.items() if met] == ['novelty']


def test_time_is_no_target():
  report = {'seconds': {'total': 1e6}}
  assert digits.verdicts(report) == digits.verdicts({})
