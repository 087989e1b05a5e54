"""The CLIP score, against its definition."""

import math

import numpy as np
import pytest

from rq_jax.evaluation import clip_score


def test_cosines_are_those_of_the_angles():
  angles = np.array([0, 30, 90, 150, 180]) * np.pi / 180
  texts = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  images = np.tile([1.0, 0.0], (5, 1))
  lengths = np.array([1e-3, 1, 2, 50, 1e4])[:, None]
  found = clip_score.cosines(
      (images * lengths).astype(np.float32), texts * lengths[::-1]
  )
  assert found.dtype == np.float64
  np.testing.assert_allclose(
      found, [1, math.sqrt(3) / 2, 0, -math.sqrt(3) / 2, -1], atol=1e-12
  )


def test_each_image_needs_a_text():
  with pytest.raises(ValueError, match=r'\[3, 2\] and \[2, 2\] do not pair'):
    clip_score.cosines(np.ones((3, 2)), np.ones((2, 2)))


@pytest.mark.parametrize('value', [0, np.nan, np.inf])
def test_an_embedding_without_a_direction_is_named(value):
  texts = np.ones((4, 2), np.float32)
  texts[2] = value
  with pytest.raises(ValueError, match='embedding of text 2'):
    clip_score.cosines(np.ones((4, 2), np.float32), texts)
