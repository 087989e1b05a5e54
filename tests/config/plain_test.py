"""Configuration files are read without ml_collections."""

import sys

import pytest

from rq_jax import config as config_lib
from rq_jax.config import plain


@pytest.mark.parametrize(
    'path',
    [
        'configs/imagenet256/rqvae.py',
        'configs/imagenet256/rqtransformer.py:1.4b',
    ],
)
def test_a_file_describes_the_same_experiment(path, monkeypatch):
  changes = {'data.batch_size': 32, 'model.dtype': 'bfloat16'}
  expected = config_lib.load(path, overrides=changes, with_data=False)
  monkeypatch.setitem(sys.modules, 'ml_collections', None)
  assert isinstance(config_lib.template(stage=1), plain.PlainConfig)
  found = config_lib.load(path, overrides=changes, with_data=False)
  assert found == expected


def test_sections_are_updated_and_not_replaced():
  config = plain.PlainConfig(a=plain.PlainConfig(x=1, y=2), b=3)
  config.update(a={'x': 4})
  config.update(b=5)
  config.a.y = 6
  assert config.to_dict() == {'a': {'x': 4, 'y': 6}, 'b': 5}
  assert not hasattr(config, 'ignore_type')
