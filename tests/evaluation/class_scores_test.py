"""Log-probabilities of classes, against closed forms."""

import numpy as np
import pytest
import scipy.special

from rq_jax.evaluation import class_scores


def test_one_class_has_its_log_softmax():
  logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
  labels = [3, 0, 1, 1, 2]
  found = class_scores.log_probabilities(logits, [(n,) for n in labels])
  odds = np.exp(logits.astype(float))
  expected = np.log(odds[np.arange(5), labels] / odds.sum(axis=1))
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_probabilities_of_a_set_are_added():
  logits = np.log(np.array([[1, 2, 3, 4], [4, 3, 2, 1]], float))
  found = class_scores.log_probabilities(logits, [(0, 3), (1, 2, 3)])
  np.testing.assert_allclose(found, np.log([0.5, 0.6]), rtol=1e-12)


@pytest.mark.parametrize('gap', [1, 20, 60, 80, 600])
def test_sure_images_still_differ(gap):
  logits = np.array([[gap, 0.0]], np.float32)
  found = class_scores.log_probabilities(logits, [(0,)])
  np.testing.assert_allclose(found, -np.log1p(np.exp(-gap)), rtol=1e-12)
  assert found < 0


def test_all_classes_together_are_certain():
  found = class_scores.log_probabilities(np.zeros((1, 3)), [(0, 1, 2)])
  assert found == 0


def test_log_probabilities_of_each_class_are_those_of_the_softmax():
  logits = np.random.default_rng(0).normal(0, 5, (4, 7)).astype(np.float32)
  expected = scipy.special.log_softmax(logits.astype(np.float64), axis=1)
  found = class_scores.of_each_class(logits)
  assert found.dtype == np.float64
  np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)


def test_of_each_class_the_probabilities_are_added():
  logits = np.log([[1.0, 2.0, 5.0], [8.0, 1.0, 1.0]])
  found = class_scores.of_each_class(logits, [(0, 1), (2,), (2, 1, 0)])
  expected = [[3 / 8, 5 / 8, 1], [9 / 10, 1 / 10, 1]]
  np.testing.assert_allclose(np.exp(found), expected, rtol=1e-14)


def test_probabilities_near_1_do_not_tie():
  logits = np.array([[60.0, 0.0], [80.0, 0.0], [900.0, 0.0]], np.float32)
  found = class_scores.of_each_class(logits, [(0,), (1,)])
  np.testing.assert_allclose(found[:, 1], [-60, -80, -900], rtol=1e-14)
  assert np.all(np.isfinite(found))
