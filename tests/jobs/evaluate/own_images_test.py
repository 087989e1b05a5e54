"""Images that a model was trained on, as it saw them."""

import numpy as np
import pytest

from rq_jax.checkpoints import stored
from rq_jax.data.sources import digits
from rq_jax.jobs.evaluate import own_images
from tests import tiny


@pytest.mark.parametrize('inside', ['', 'tokenizer'])
def test_images_have_the_size_that_the_rqvae_encodes(inside, tmp_path):
  config = tiny.stage1_config(data=dict(image_size=12))
  assert config.model.image_size == 16
  (tmp_path / inside).mkdir(exist_ok=True)
  stored.write_config(tmp_path / inside, config)
  images = own_images.split_of(str(tmp_path), 'test')
  found = next(iter(images.read([range(5)])))
  expected = [digits.Digits('test', 16)[i]['image'] for i in range(5)]
  np.testing.assert_array_equal(found, expected)
