"""The published sizes of the models, from shapes alone."""

import math

import jax
import jax.numpy as jnp
import pytest

from rq_jax.models import rqtransformer
from rq_jax.models import rqvae


def _count(model, *args):
  made = jax.eval_shape(model.init, jax.random.key(0), *args)['params']
  return sum(math.prod(x.shape) for x in jax.tree.leaves(made))


def test_an_rqvae_has_100_million_parameters():
  assert _count(rqvae.RQVAE(), jnp.zeros((1, 256, 256, 3))) == 100_207_491


@pytest.mark.parametrize(
    ('expected', 'options'),
    [
        pytest.param(expected, options, id=name)
        for name, expected, options in (
            (
                'ffhq',
                355_393_536,
                dict(
                    width=1024,
                    heads=16,
                    spatial_layers=24,
                    codebook_size=2048,
                ),
            ),
            (
                'lsun_church',
                370_087_936,
                dict(width=1024, heads=16, spatial_layers=24),
            ),
            (
                'lsun',
                612_061_184,
                dict(width=1280, heads=20, spatial_layers=26),
            ),
            ('imagenet_480m', 480_921_088, dict(num_classes=1000)),
            (
                'imagenet_821m',
                820_899_328,
                dict(num_classes=1000, spatial_layers=24),
            ),
            (
                'imagenet_1400m',
                1_387_529_728,
                dict(num_classes=1000, spatial_layers=42, depth_layers=6),
            ),
            (
                'imagenet_3800m',
                3_822_488_064,
                dict(
                    num_classes=1000,
                    width=2560,
                    heads=40,
                    spatial_layers=42,
                    depth_layers=6,
                ),
            ),
            (
                'cc3m',
                654_061_568,
                dict(
                    width=1280,
                    heads=20,
                    spatial_layers=26,
                    text_vocab_size=16384,
                    text_length=32,
                ),
            ),
        )
    ],
)
def test_an_rqtransformer_has_the_published_size(expected, options):
  model = rqtransformer.RQTransformer(**options)
  codes = jax.ShapeDtypeStruct((1, *model.code_shape), jnp.int32)
  condition = jax.ShapeDtypeStruct((1, model.condition_length), jnp.int32)
  words = jax.ShapeDtypeStruct((max(model.sizes), 256), jnp.float32)
  assert _count(model, codes, condition, (words,)) == expected
