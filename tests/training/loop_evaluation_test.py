"""Evaluations and previews of the loop."""

import numpy as np
from PIL import Image
import pytest

from rq_jax.data.sources import digits
from tests import tiny
from tests.training import toy


def test_evaluation_sees_every_held_out_example_once():
  folder, results = toy.finished()
  held_out = digits.Digits('test', tiny.SIZE)
  pixels = np.mean([held_out[i]['image'] for i in range(len(held_out))])
  assert results['eval/count'] == len(held_out) == 359
  # Sums of 64 images in float32.
  np.testing.assert_allclose(
      results['eval/pixel'], pixels / 127.5 - 1, rtol=1e-5
  )
  lines = [x for x in tiny.metric_lines(folder) if 'eval/count' in x]
  assert [line['step'] for line in lines] == [3, 5]
  assert lines[-1] == {'step': 5} | results
  weights = [np.sum(toy.expected_states()[step].params['w']) for step in (3, 5)]
  np.testing.assert_allclose(
      [line['eval/weight'] for line in lines], weights, rtol=1e-4
  )


@pytest.mark.parametrize('batch_size', [64, 8])
def test_evaluation_and_previews_are_of_the_first_held_out_examples(
    batch_size, tmp_path
):
  """20 images: 64 is more, and 8 does not divide 20."""
  config = tiny.changed(
      toy.experiment(eval_images=20), data=dict(batch_size=batch_size)
  )
  results = toy.run(tmp_path, config=config, steps=1)
  first = np.stack([toy.digits_splits().test[i]['image'] for i in range(20)])
  assert results['eval/count'] == 20
  np.testing.assert_allclose(
      results['eval/pixel'], np.mean(first) / 127.5 - 1, rtol=1e-5
  )
  # One column per image, none for padding; borders have two pixels.
  columns = min(batch_size, 20)
  picture = np.asarray(Image.open(tmp_path / 'images' / 'digits_00000001.png'))
  assert picture.shape[1] == columns * (tiny.SIZE + 2) + 2
  last = picture[2 : 2 + tiny.SIZE, -tiny.SIZE - 2 : -2]
  np.testing.assert_array_equal(last, first[columns - 1])


def test_previews_are_written_as_pictures():
  folder, _ = toy.finished()
  names = sorted(p.name for p in (folder / 'images').iterdir())
  assert names == ['digits_00000003.png', 'digits_00000005.png']
  picture = np.asarray(Image.open(folder / 'images' / names[0]))
  # The first image of the first batch; grids have borders of two pixels.
  image = digits.Digits('test', tiny.SIZE)[0]['image']
  np.testing.assert_array_equal(
      picture[2 : 2 + tiny.SIZE, 2 : 2 + tiny.SIZE], image
  )
