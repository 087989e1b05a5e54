"""Copies among images, against a comparison of all pairs."""

import itertools

import numpy as np

from rq_jax.jobs.inspect import duplicates


def _thumbnails(rng, count):
  return rng.integers(0, 256, (count, 8, 8)).astype(np.uint8)


def test_exact_copies_are_those_with_equal_digests():
  digests = np.random.default_rng(0).integers(0, 30, 50).astype(np.uint64)
  expected = {
      tuple(np.flatnonzero(digests == d))
      for d in digests
      if np.sum(digests == d) > 1
  }
  found = duplicates.exact(digests)
  assert {tuple(group) for group in found} == expected
  assert not duplicates.exact(np.arange(5, dtype=np.uint64))


def test_similar_images_are_found_among_thousands():
  rng = np.random.default_rng(1)
  thumbnails = _thumbnails(rng, 3000)
  changed = thumbnails[:100] + rng.integers(-2, 3, (100, 8, 8))
  thumbnails[1000:1100] = np.clip(changed, 0, 255)
  digests = np.arange(3000, dtype=np.uint64)
  found = {tuple(group) for group in duplicates.similar(thumbnails, digests)}
  # Every pair is one, and nearly all pairs are found.
  assert found <= {(i, i + 1000) for i in range(100)}
  assert len(found) >= 98


def test_no_single_pixel_hides_a_pair():
  """Its bit may differ, and pairs are found by sorting bits."""
  rng = np.random.default_rng(5)
  thumbnails = _thumbnails(rng, 2000)
  flat = thumbnails.reshape(2000, 64)
  for pixel in range(64):
    others = np.delete(flat[pixel], pixel)
    flat[1000 + pixel] = flat[pixel]
    flat[pixel, pixel] = np.floor(others.mean()) - 2
    flat[1000 + pixel, pixel] = np.ceil(others.mean()) + 2
  digests = np.arange(2000, dtype=np.uint64)
  found = {tuple(group) for group in duplicates.similar(thumbnails, digests)}
  assert found == {(i, i + 1000) for i in range(64)}


def test_groups_join_pairs_that_share_an_image():
  rng = np.random.default_rng(2)
  thumbnails = _thumbnails(rng, 6)
  for row, step in ((1, 1), (2, 2), (3, 3)):
    thumbnails[row] = np.clip(thumbnails[0].astype(int) + step, 0, 255)
  flat = thumbnails.reshape(6, -1).astype(float)
  near = [
      (a, b)
      for a, b in itertools.combinations(range(6), 2)
      if np.abs(flat[a] - flat[b]).mean() <= 2
  ]
  assert (0, 3) not in near and (2, 3) in near
  (group,) = duplicates.similar(thumbnails, np.arange(6, dtype=np.uint64))
  assert group.tolist() == [0, 1, 2, 3]


def test_exact_copies_and_plain_images_are_not_similar():
  thumbnails = _thumbnails(np.random.default_rng(3), 4)
  thumbnails[1] = thumbnails[0]
  thumbnails[2], thumbnails[3] = 100, 101
  digests = np.array([5, 5, 6, 7], np.uint64)
  assert not duplicates.similar(thumbnails, digests)


def test_a_single_image_has_no_copies():
  one = _thumbnails(np.random.default_rng(4), 1)
  assert not duplicates.similar(one, np.zeros(1, np.uint64))
  assert not duplicates.exact(np.zeros(1, np.uint64))
