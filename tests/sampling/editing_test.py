"""What is kept stays and conditions what comes after it, nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.models import build
from rq_jax.sampling.options import Sampling
from tests import official
from tests.sampling import models

pytestmark = pytest.mark.slow

_KEY = jax.random.key(4)
_LABELS = [3, 7, 0]
_SHAPE = (3, 2, 2, 2)


@functools.cache
def _codes():
  """Codes that are given, which none of the draws has by chance."""
  return np.random.default_rng(0).integers(12, size=_SHAPE, dtype=np.int32)


@functools.cache
def _plain():
  """What is drawn where nothing is given."""
  return np.asarray(models.sampler().codes(_KEY, labels=_LABELS))


def _complete(codes, keep, **asked):
  asked = {'labels': _LABELS, **asked}
  return np.asarray(models.sampler().complete(_KEY, codes, keep, **asked))


def test_where_all_is_kept_nothing_changes():
  completed = _complete(_codes(), np.ones((2, 2), bool))
  np.testing.assert_array_equal(completed, _codes())
  assert completed.dtype == np.int32


@pytest.mark.parametrize('codes', [_codes(), np.full(_SHAPE, -1)])
def test_where_nothing_is_kept_codes_are_drawn_as_ever(codes):
  completed = _complete(codes, np.zeros((2, 2), bool))
  np.testing.assert_array_equal(completed, _plain())


@pytest.mark.parametrize('shape', [(2, 2), (2, 2, 2), (3, 2, 2), _SHAPE])
def test_codes_that_are_kept_never_change(shape):
  keep = np.random.default_rng(1).random(shape) < 0.5
  if shape in ((2, 2), (3, 2, 2)):
    everywhere = np.broadcast_to(keep[..., None], _SHAPE)
  else:
    everywhere = np.broadcast_to(keep, _SHAPE)
  completed = _complete(_codes(), keep)
  np.testing.assert_array_equal(completed[everywhere], _codes()[everywhere])
  # Others are unknown, and drawn.
  unknown = np.where(everywhere, _codes(), -1)
  np.testing.assert_array_equal(_complete(unknown, keep), completed)
  assert (completed[~everywhere] != _codes()[~everywhere]).any()
  assert (completed >= 0).all() and (completed < 12).all()


@pytest.mark.parametrize('position', range(4))
@pytest.mark.parametrize('depth', range(2))
def test_a_code_conditions_what_comes_after_it_alone(position, depth):
  kept = np.zeros((4, 2), bool)
  kept[position, depth] = True
  greedy = Sampling(top_k=1)
  before = 2 * position + depth
  plain = models.sampler().codes(_KEY, labels=_LABELS, sampling=greedy)
  plain = np.asarray(plain).reshape(3, 8)
  changed = np.zeros((3, 8), bool)
  for code in range(12):
    codes = np.full(_SHAPE, code)
    drawn = _complete(codes, kept.reshape(2, 2, 2), sampling=greedy)
    drawn = drawn.reshape(3, 8)
    assert (drawn[:, before] == code).all()
    np.testing.assert_array_equal(drawn[:, :before], plain[:, :before])
    # What follows are the likeliest codes after it.
    logits = models.sampler().logits(drawn.reshape(_SHAPE), labels=_LABELS)
    likely = np.argmax(logits, axis=-1).reshape(3, 8)
    np.testing.assert_array_equal(
        drawn[:, before + 1 :], likely[:, before + 1 :]
    )
    changed |= drawn != plain
  assert changed[:, before + 1 :].any(axis=0).all()


def test_first_positions_are_continued():
  codes = _plain()
  keep = np.array([[True, False], [False, False]])
  np.testing.assert_array_equal(_complete(codes, keep), codes)


def test_guidance_keeps_codes_for_both_passes():
  guided = Sampling(guidance=3.0)
  codes = np.asarray(
      models.sampler().codes(_KEY, labels=_LABELS, sampling=guided)
  )
  keep = np.array([[True, False], [True, False]])
  completed = _complete(codes, keep, sampling=guided)
  np.testing.assert_array_equal(completed, codes)


@pytest.mark.parametrize(
    'name', [n for n in official.RQTRANSFORMERS if n != 'unshared_vocabs']
)
def test_a_prefix_is_continued_as_the_official_sampler_does(name):
  recorded = official.recording(f'rqtransformer_{name}')
  expected, codes = recorded['greedy_from_1_2'], recorded['codes']
  prior = build.rqtransformer(official.config(f'rqtransformer_{name}').model)
  partner = official.codebooks(official.weights('rqvae_aux'), 4)
  keep = np.zeros((2, prior.positions, prior.depth), bool)
  keep[:, : 4 + 2] = True  # Up to row 1, column 2 of four columns.
  drawn, _ = models.draw(
      prior,
      Sampling(top_k=1),
      official.variables(f'rqtransformer_{name}')['params'],
      (partner['shared'].embedding,),
      np.full(keep.shape, 0.5, np.float32),
      recorded.get('cond', np.zeros((2, 1))).astype(np.int32),
      given=codes.astype(np.int32).reshape(keep.shape),
      keep=keep,
  )
  np.testing.assert_array_equal(drawn, expected)


def test_kept_codes_that_are_none_are_refused():
  codes = _codes().copy()
  codes[2, 1, 0, 1] = 12
  keep = np.ones((2, 2), bool)
  with pytest.raises(ValueError, match=r'codes\[2, 1, 0, 1\] is 12'):
    _complete(codes, keep)
  keep[1, 0] = False
  _complete(codes, keep)
  with pytest.raises(
      ValueError, match='labels asks for 2 images, but you passed 3'
  ):
    _complete(codes, keep, labels=[1, 2])
  # One without a batch is not taken for two images.
  with pytest.raises(ValueError, match=r'Add a batch dimension: codes\[None\]'):
    _complete(codes[0], keep)


def test_unconditional_models_are_told_by_the_codes_how_many():
  sampler = models.sampler(num_classes=0, null_class=False)
  completed = sampler.complete(_KEY, _codes(), np.zeros((2, 2), bool))
  np.testing.assert_array_equal(completed, sampler.codes(_KEY, num_images=3))


@functools.cache
def _images():
  return np.random.default_rng(2).integers(
      256, size=(3, 16, 16, 3), dtype=np.uint8
  )


def _edit(redraw, images=None, **asked):
  images = _images() if images is None else images
  asked = {'labels': _LABELS, **asked}
  return models.sampler().edit(_KEY, images, redraw, **asked)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_cells_are_drawn_anew_and_others_stay_bit_for_bit(dtype):
  images = _images()
  if dtype == np.float32:
    images = images / np.float32(127.5) - 1
  redraw = np.zeros((3, 16, 16), bool)
  redraw[0, 7, 8] = redraw[1, 15, 0] = redraw[1, 0, 0] = True
  edited = _edit(redraw, images)
  assert edited.dtype == np.uint8 and edited.shape == (3, 16, 16, 3)
  chosen = np.zeros((3, 2, 2), bool)
  chosen[0, 0, 1] = chosen[1, 1, 0] = chosen[1, 0, 0] = True
  tokenizer = models.random_tokenizer()
  expected = np.asarray(
      tokenizer.decode(_complete(tokenizer.encode(images), ~chosen))
  )
  for b, i, j in np.ndindex(3, 2, 2):
    cell = (b, slice(8 * i, 8 * i + 8), slice(8 * j, 8 * j + 8))
    source = expected if chosen[b, i, j] else _images()
    np.testing.assert_array_equal(edited[cell], source[cell])
    assert not chosen[b, i, j] or (edited[cell] != _images()[cell]).any()


def test_masks_of_as_many_images_as_a_map_has_rows_are_each_images_own():
  # [2, 2, 2] is the shape of one mask by depth, too.
  redraw = np.zeros((2, 16, 16), bool)
  redraw[0, :8] = True
  images = _images()[:2]
  edited = _edit(redraw, images, labels=_LABELS[:2])
  alone = _edit(redraw[:1], images[:1], labels=_LABELS[:1])
  np.testing.assert_array_equal(edited[:1], alone)
  np.testing.assert_array_equal(edited[1], images[1])


def test_one_mask_may_hold_for_all_images():
  redraw = np.zeros((16, 16), bool)
  redraw[3, 12] = True
  edited = _edit(redraw)
  changed = (edited != _images()).any(axis=-1)
  assert changed[:, :8, 8:].any(axis=(1, 2)).all()
  changed[:, :8, 8:] = False
  assert not changed.any()
  np.testing.assert_array_equal(
      edited, _edit(np.broadcast_to(redraw, (3, 16, 16)))
  )


def test_where_all_is_drawn_anew_images_are_drawn_as_ever():
  np.testing.assert_array_equal(
      _edit(np.ones((16, 16), bool)),
      models.sampler()(_KEY, labels=_LABELS),
  )
  np.testing.assert_array_equal(_edit(np.zeros((16, 16), bool)), _images())


def test_edited_images_of_another_range_are_warned_about_once():
  redraw = np.zeros((16, 16), bool)
  with pytest.warns(UserWarning, match=r'all lie in \[0, 1\]') as warned:
    models.sampler().edit(_KEY, _images() / 255, redraw, labels=_LABELS)
  assert [w.filename for w in warned] == [__file__]


def test_wrong_edits_are_refused_before_images_are_encoded(monkeypatch):
  def encode(*_):
    raise AssertionError('encoded')

  monkeypatch.setattr(tokenizer_lib, '_encode', encode)
  redraw = np.ones((16, 16), bool)
  with pytest.raises(ValueError, match='redraw must be bool with shape'):
    _edit(redraw[:8])
  with pytest.raises(ValueError, match='labels=10 is out of range'):
    _edit(redraw, labels=[1, 2, 10])
  with pytest.raises(
      ValueError, match='labels asks for 1 images, but you passed 3'
  ):
    _edit(redraw, labels=[1])
  with pytest.raises(AssertionError, match='encoded'):
    _edit(redraw)


def test_images_may_be_arrays_of_any_kind():
  redraw = np.zeros((16, 16), bool)
  redraw[0, 0] = True
  np.testing.assert_array_equal(
      _edit(jnp.asarray(redraw), jnp.asarray(_images())), _edit(redraw)
  )
