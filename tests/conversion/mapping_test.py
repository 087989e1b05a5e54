"""Tables are applied strictly: every name once, every shape as required."""

import numpy as np
import pytest

from rq_jax.conversion import layouts
from rq_jax.conversion import mapping
from rq_jax.conversion import tables
from rq_jax.conversion.tables import Row

ROWS = [
    Row(('params/a/kernel',), ('a.weight',), layouts.DENSE),
    Row(('params/b',), ('b.0', 'b.1'), layouts.stacked(layouts.SAME, layers=2)),
]
OURS = {'params/a/kernel': (3, 2), 'params/b': (2, 4)}
THEIRS = {'a.weight': (2, 3), 'b.0': (4,), 'b.1': (4,)}
DTYPES = dict.fromkeys(OURS, np.dtype('f4'))


def _state():
  rng = np.random.default_rng(0)
  return {n: rng.normal(size=s).astype('f4') for n, s in THEIRS.items()}


def test_trees_are_flattened_by_path_and_back():
  tree = {'params': {'a': {'kernel': 1}, 'b': 2}, 'codebook': [3, 4]}
  flat = mapping.flatten(tree)
  assert flat == {
      'codebook/0': 3,
      'codebook/1': 4,
      'params/a/kernel': 1,
      'params/b': 2,
  }
  assert mapping.unflatten(tree, flat) == tree


def test_official_shapes_follow_from_ours():
  assert mapping.official_shapes(ROWS, OURS) == THEIRS


def test_what_fits_passes():
  mapping.check(ROWS, OURS, THEIRS, 'model.pt')


def test_one_error_lists_all_that_does_not_fit():
  theirs = {'a.weight': (3, 3), 'b.1': (4,), 'c': (1,), 'd': ()}
  with pytest.raises(ValueError) as caught:
    mapping.check(ROWS, OURS, theirs, 'model.pt')
  assert str(caught.value) == (
      'model.pt does not hold the model that its config.yaml describes:'
      ' 1 missing: b.0; 2 unexpected: c, d; 1 of another shape: a.weight (is'
      ' [3, 3], should be [2, 3]). Use the config.yaml that was released with'
      ' it.'
  )


def test_a_long_list_is_cut_short():
  theirs = THEIRS | {f'extra.{i}': () for i in range(20)}
  with pytest.raises(ValueError, match=r'20 unexpected: .*extra.11 and 8 more'):
    mapping.check(ROWS, OURS, theirs, 'model.pt')


def test_arrays_pass_in_both_directions():
  state = _state()
  ours = dict(mapping.to_ours(ROWS, state.__getitem__, DTYPES))
  assert {n: a.shape for n, a in ours.items()} == OURS
  np.testing.assert_array_equal(ours['params/b'][1], state['b.1'])
  again = dict(mapping.to_theirs(ROWS, ours.__getitem__))
  assert sorted(again) == sorted(state)
  for name, array in state.items():
    np.testing.assert_array_equal(again[name], array)


def test_ours_are_contiguous_and_their_own():
  state = _state()
  ours = dict(mapping.to_ours(ROWS, state.__getitem__, DTYPES))
  assert ours['params/a/kernel'].flags.c_contiguous
  assert not np.shares_memory(ours['params/a/kernel'], state['a.weight'])


def test_scalars_stay_scalars():
  rows = [Row(('params/a',), ('a',), layouts.SAME)]
  state = {'a': np.array(True)}
  ours = dict(mapping.to_ours(rows, state.__getitem__, {'params/a': bool}))
  assert ours['params/a'].shape == ()


@pytest.mark.parametrize(
    ('a', 'b', 'expected'),
    [
        (np.float32([0.0, 1.0]), np.float32([0.0, 1.0]), True),
        (np.float32([0.0, 1.0]), np.float32([-0.0, 1.0]), False),
        (np.float32([np.nan]), np.float32([np.nan]), True),
        (np.float32([1.0]), np.float64([1.0]), False),
        (np.float32([1.0]), np.float32(1.0), False),
        (np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T, True),
        (np.arange(4).reshape(2, 2).T, np.arange(4).reshape(2, 2), False),
    ],
)
def test_arrays_are_compared_by_their_bits(a, b, expected):
  assert mapping.same_bits(a, b) is expected


def test_narrow_numbers_are_widened_and_wide_ones_refused():
  state = {n: a.astype('f2') for n, a in _state().items()}
  ours = dict(mapping.to_ours(ROWS, state.__getitem__, DTYPES))
  assert ours['params/b'].dtype == np.float32
  np.testing.assert_array_equal(ours['params/b'][0], state['b.0'])
  state = {n: a.astype('f8') for n, a in _state().items()}
  with pytest.raises(ValueError, match='a.weight is float64, which does not'):
    dict(mapping.to_ours(ROWS, state.__getitem__, DTYPES))


def test_a_contradiction_is_told_with_its_names():
  rows = [Row(('params/a',), ('x', 'y'), layouts.copies(2))]
  state = {'x': np.zeros(2, 'f4'), 'y': np.ones(2, 'f4')}
  with pytest.raises(ValueError, match='x, y: they should be copies of one'):
    dict(mapping.to_ours(rows, state.__getitem__, {'params/a': 'f4'}))


def test_names_are_listed_as_in_official_state_dicts():
  names = [
      'pos_emb_hw',
      'cond_emb.weight',
      'body_transformer.blocks.2.ln1.weight',
      'body_transformer.blocks.2.ln1.bias',
      'body_transformer.blocks.2.attn.key.weight',
      'body_transformer.blocks.2.attn.query.weight',
      'body_transformer.blocks.2.mlp.0.weight',
      'body_transformer.blocks.10.ln1.weight',
      'head_transformer.blocks.0.ln1.weight',
      'classifier.linear.weight',
  ]
  shuffled = sorted(names, key=hash)
  assert sorted(shuffled, key=tables.official_order) == names
