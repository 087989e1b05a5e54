"""Stacks step by step, against whole sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import incremental
from rq_jax.models import transformer
from tests.models import stacks

_BLOCKS = transformer.unstack(stacks.params(), stacks.LAYERS)
_LENGTH = 8  # Of the caches; longer than the sequence.


@pytest.mark.parametrize('joint', [False, True], ids=['pairs', 'joint'])
@pytest.mark.parametrize('pieces', [(1, 1, 1, 1, 1, 1), (3, 1, 2)], ids=str)
def test_extending_piece_by_piece_equals_the_whole_sequence(pieces, joint):
  @jax.jit
  def extend(x, caches, start):
    return incremental.extend(stacks.STACK, _BLOCKS, x, caches, start)

  caches = _empty(joint)
  start, found = 0, []
  for length in pieces:
    piece = stacks.inputs()[:, start : start + length]
    out, caches = extend(piece, caches, start)
    found.append(out)
    start += length
  stacks.assert_close(np.concatenate(found, axis=1), stacks.outputs())
  for keys, values in caches:
    assert keys[:, :, :6].all() and values[:, :, :6].all()
    assert not keys[:, :, 6:].any() and not values[:, :, 6:].any()


def test_both_kinds_of_caches_hold_the_same():
  def extended(joint):
    return incremental.extend(
        stacks.STACK, _BLOCKS, stacks.inputs()[:, :2], _empty(joint), 3
    )[1]

  for pair, joint in zip(extended(False), extended(True), strict=True):
    stacks.assert_close(np.stack(pair), joint)


def test_a_joint_cache_is_read_only_before_the_new_position():
  # What stands at the new position and behind it does not count.
  x = stacks.inputs()[:, :1]
  empty = _empty(True)
  stale = empty.at[:, :, :, :, 2:].set(7.0)
  expected, _ = incremental.extend(stacks.STACK, _BLOCKS, x, empty, 2)
  actual, _ = incremental.extend(stacks.STACK, _BLOCKS, x, stale, 2)
  np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize('joint', [False, True], ids=['pairs', 'joint'])
def test_behind_the_length_caches_are_kept_but_not_read(joint):
  x = stacks.inputs()[:, :1]
  expected, written = incremental.extend(
      stacks.STACK, _BLOCKS, x, _empty(joint), 2
  )
  stale = jax.tree.map(lambda x: x.at[..., 4:, :].set(jnp.nan), _empty(joint))
  actual, caches = incremental.extend(
      stacks.STACK, _BLOCKS, x, stale, 2, length=4
  )
  stacks.assert_close(actual, expected)
  for old, new in zip(jax.tree.leaves(written), jax.tree.leaves(caches)):
    stacks.assert_close(new[..., :4, :], old[..., :4, :])
    assert np.isnan(new[..., 4:, :]).all()


def test_appending_one_by_one_equals_the_whole_sequence():
  @jax.jit
  def append(x, earlier):
    return incremental.append(stacks.STACK, _BLOCKS, x, earlier)

  earlier, found = [], []
  for i in range(4):
    out, new = append(stacks.inputs()[:, i : i + 1], earlier)
    earlier.append(new)
    found.append(out)
  stacks.assert_close(np.concatenate(found, axis=1), stacks.outputs()[:, :4])


def test_caches_have_the_dtype_of_the_stack_and_one_entry_per_layer():
  fields = (*stacks.BLOCK, ('dtype', 'bfloat16'))
  for joint in (False, True):
    caches = incremental.empty_caches(
        transformer.Stack(3, fields), 2, _LENGTH, joint=joint
    )
    assert len(caches) == 3
    assert {leaf.dtype for leaf in jax.tree.leaves(caches)} == {
        jnp.dtype('bfloat16')
    }
  assert incremental.empty_caches(transformer.Stack(0, fields), 2, 8) == []


def _empty(joint):
  batch = len(stacks.inputs())
  return incremental.empty_caches(stacks.STACK, batch, _LENGTH, joint=joint)
