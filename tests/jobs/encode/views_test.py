"""Several views of an image: what a cache of them holds, and trains."""

import jax
import numpy as np
import pytest

from rq_jax.data import loader
from rq_jax.data import views
from rq_jax.data.feature_cache import layout
from rq_jax.data.sources import digits
from rq_jax.data.sources import features
from rq_jax.jobs.encode import encoder
from rq_jax.jobs.encode import job as encode
from rq_jax.training import stage2
from tests import tiny
from tests.data import augmented
from tests.jobs import encoding

VIEWS = 3


@pytest.mark.parametrize(
    ('fields', 'count', 'words'),
    [
        ({}, 0, '--views=0 must be at least 1'),
        (dict(crop='center', flip=False), 2, 'the same view 2 times'),
    ],
)
def test_views_that_are_not_possible_are_refused(
    fields, count, words, tmp_path
):
  out = tmp_path / 'cache'
  with pytest.raises(ValueError, match=words):
    encode.encode(
        tiny.untrained_tokenizer(),
        augmented.data(**fields),
        str(out),
        views=count,
    )
  assert not out.exists()


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  """A cache of views in three shards, its sentence, and sizes of batches."""
  folder = tmp_path_factory.mktemp('views')
  row = 2 * VIEWS * np.prod(tiny.untrained_tokenizer().model.features_shape)
  module, sizes = encoder.tokenizer_lib, []
  features_known = module.features_known

  def counted(tokenizer, images):
    sizes.append(len(images))
    return features_known(tokenizer, images)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(module, 'features_known', counted)
    patch.setattr(layout, 'SHARD_BYTES', 500 * row)
    sentence = encode.encode(
        tiny.untrained_tokenizer(),
        augmented.data(),
        str(folder),
        views=VIEWS,
        seed=augmented.SEED,
    )
  return folder, sentence, sizes


def test_a_cache_holds_the_features_of_all_views(cache):
  folder, sentence, _ = cache
  source = features.Features(folder, 'train')
  assert (source.views, len(source)) == (VIEWS, 1438)
  assert len(list(folder.glob('train/features*'))) == 3
  tokenizer = tiny.untrained_tokenizer()
  for index in (0, 700, 1437):  # One in each shard.
    expected = tokenizer.features(
        np.stack([augmented.view(index, v) for v in range(3)])
    )
    found = np.float32(source[index]['features'])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
  assert 'Rounding the features to float16 changed them by at most' in sentence


def test_a_batch_has_as_many_views_as_one_of_training_has_images(cache):
  assert set(cache[2]) == {augmented.data().batch_size}


def test_held_out_images_have_one_view_the_center(cache):
  source = features.Features(cache[0], 'test')
  assert source.views == 1
  expected = tiny.untrained_tokenizer().features(tiny.images(8))
  found = np.stack([source[i]['features'][0] for i in range(8)])
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_stage_2_trains_as_on_the_same_crops_rounded_to_float16(cache):
  source = features.Features(cache[0], 'train')
  order = views.of(
      digits.Digits('train', tiny.SIZE),
      augmented.data(),
      count=VIEWS,
      seed=augmented.SEED,
  )
  options = dict(batch_size=tiny.BATCH, seed=2, step=400)
  cached = loader.train_batches(
      source, transform=loader.ViewTransform(train=True), **options
  )
  # The same order and choice of views, but of images.
  picked = loader.train_batches(order, transform=_pick_image, **options)
  encoded = jax.jit(tiny.untrained_tokenizer().features)
  task = tiny.stage2_task(tiny.stage2_config())
  step = jax.jit(lambda state, batch: stage2.train_step(task, state, batch))
  one = other = tiny.initial_state(stage2, task)
  for _ in range(2):
    batch, images = next(cached), next(picked)
    again = np.float16(encoded(images['image'])).astype(np.float32)
    np.testing.assert_array_equal(batch['label'], images['label'])
    np.testing.assert_array_equal(batch['features'], again)
    one, first = step(one, batch)
    other, second = step(other, {**images, 'features': again})
    tiny.assert_trees_equal(first, second)
    tiny.assert_trees_equal(one, other)


def _pick_image(example, rng):
  """Picks a view of an image as `ViewTransform` picks features."""
  return {**example, 'image': example['image'][rng.integers(VIEWS)]}


def test_only_views_make_crops_and_seed_part_of_the_job(tmp_path):
  def run(views, **fields):
    with pytest.raises(RuntimeError):
      encode.encode(
          encoding.stand_in(batches=1, then=encoding.fail),
          augmented.data(**fields),
          str(tmp_path),
          views=views,
          seed=augmented.SEED,
      )

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(encode.encoder_lib.tokenizer_lib, 'features_known',
                  encoding.features)  # fmt: skip
    row = 2 * np.prod(tiny.untrained_tokenizer().model.features_shape)
    patch.setattr(layout, 'SHARD_BYTES', 40 * row)
    run(2)
    with pytest.raises(ValueError, match='begun with views.count=2'):
      run(3)
    with pytest.raises(ValueError, match='begun with views.flip=true'):
      run(2, flip=False)
    run(2)
