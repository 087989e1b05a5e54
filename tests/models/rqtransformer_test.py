import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import rqtransformer
from tests.models import drawn

SHAPE = (2, 3, 3)  # H, W, D: 6 positions.
CODEWORD = 6

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def tiny(**options):
  return rqtransformer.RQTransformer(
      **{
          **dict(
              code_shape=SHAPE,
              codebook_size=8,
              embed_dim=CODEWORD,
              width=16,
              heads=2,
              spatial_layers=2,
              depth_layers=2,
              num_classes=5,
              dropout=0.0,
          ),
          **options,
      }
  )


MODELS = {
    'codebook': tiny(),
    'text': tiny(num_classes=0, text_vocab_size=11, text_length=4),
    'own': tiny(
        codebook_size=(8, 6, 4),
        spatial_input='learned',
        depth_input='learned',
        shared_embedding=False,
        shared_classifier=False,
        cumulative_depth_input=False,
    ),
}


def codes(seed=0, top=4):
  rng = np.random.default_rng(seed)
  return rng.integers(top, size=(2, *SHAPE)).astype(np.int32)


def condition(model):
  rng = np.random.default_rng(3)
  shape = (2, model.condition_length)
  return rng.integers(model.condition_size, size=shape).astype(np.int32)


def codebooks(tables=1):
  rng = np.random.default_rng(2)
  shape = (tables, 8, CODEWORD)
  return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32))


@functools.cache
def variables(name):
  model = MODELS[name]
  return drawn.variables(model, codes(), condition(model), codebooks())


@functools.cache
def _apply(model):
  @jax.jit
  def apply(variables, codes, condition, codebooks):
    if model.condition_length == 1:
      return model.apply(variables, codes, condition, codebooks), None, None
    hidden, spatial = model.apply(
        variables, codes, condition, codebooks, method='hidden'
    )
    return (
        model.apply(variables, hidden, method='classify').reshape(
            *codes.shape, -1
        ),
        hidden,
        model.apply(variables, spatial, method='condition_logits'),
    )

  return apply


def outputs(name, code_maps=None, given=None):
  """Logits; for a text also the hidden state, and logits of the text."""
  model = MODELS[name]
  return _apply(model)(
      variables(name),
      codes() if code_maps is None else code_maps,
      condition(model) if given is None else given,
      codebooks(),
  )


def logits(name, code_maps=None, given=None):
  return np.asarray(outputs(name, code_maps, given)[0])


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('position', [(0, 1), (1, 0), (1, 2)])
@pytest.mark.parametrize('depth', [0, 1, 2])
def test_a_code_is_seen_by_what_follows_it_alone(name, position, depth):
  changed = codes()
  changed[:, *position, depth] = (changed[:, *position, depth] + 1) % 4
  difference = logits(name, changed) - logits(name)
  difference = np.abs(difference).max(axis=(0, -1)).reshape(6, 3)
  where = position[0] * 3 + position[1]
  # Earlier logits are bit-equal: the same sums in the same order.
  assert (difference[:where] == 0).all()
  assert (difference[where, : depth + 1] == 0).all()
  assert (difference[where, depth + 1 :] > 1e-4).all()
  assert (difference[where + 1 :] > 1e-5).all()


@pytest.mark.parametrize('name', ['codebook', 'text'])
def test_every_code_depends_on_the_condition(name):
  given = condition(MODELS[name])
  given[:, 0] = (given[:, 0] + 1) % 5
  difference = np.abs(logits(name, given=given) - logits(name))
  assert (difference.max(axis=(0, -1)) > 1e-5).all()


def test_the_next_token_of_a_text_is_predicted_from_those_before():
  given = condition(MODELS['text'])
  given[:, 2] = (given[:, 2] + 1) % 11
  before = np.asarray(outputs('text')[2])
  after = np.asarray(outputs('text', given=given)[2])
  assert before.shape == (2, 3, 11)
  np.testing.assert_array_equal(after[:, :2], before[:, :2])
  assert (np.abs(after[:, 2] - before[:, 2]).max(-1) > 1e-4).all()


def test_logits_at_a_depth_are_those_of_whole_stacks():
  found, hidden, _ = outputs('text')
  for d in range(3):
    actual = MODELS['text'].apply(
        variables('text'), hidden[:, 4, d], d, method='classify_at'
    )
    assert_close(actual, found[:, 1, 1, d])


def test_codes_that_a_depth_lacks_get_no_probability():
  likely = np.asarray(jax.nn.softmax(logits('own')))
  for d, size in enumerate((8, 6, 4)):
    assert (likely[..., d, size:] == 0).all()
    assert (likely[..., d, :size] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'cumulative'),
    [('codebook', True), ('codebook', False), ('own', False)],
)
def test_tables_hold_what_the_codes_contribute(name, cumulative):
  # Sums of rows of the tables are the inputs of both stacks in a forward pass:
  # `hidden` is recomputed from them.
  model = MODELS[name].clone(cumulative_depth_input=cumulative)

  @jax.jit
  def run(variables):
    apply = functools.partial(model.apply, variables)
    given, books = condition(model), codebooks()
    spatial, depth = apply(books, method='tables')
    params = variables['params']
    stacks = codes().reshape(2, 6, 3)

    def rows(tables):
      found = [tables[d % len(tables)][stacks[..., d]] for d in range(3)]
      return jnp.stack(found, axis=2)  # [B, T, D, E]

    start = apply(given, method='embed_condition')
    x = rows(spatial).sum(2)[:, :-1] + params['spatial_position'][None, :-1]
    x = jnp.concatenate([start, x], axis=1)
    context = model.make_spatial_stack().apply(
        {'params': params['spatial_stack']}, x
    )
    x = rows(depth)[:, :, :-1]
    x = jnp.cumsum(x, axis=2) if cumulative else x
    x = jnp.concatenate([context[:, :, None], x], axis=2)
    x = x + apply(books, method='depth_offsets')[None, None]
    rebuilt = model.make_depth_stack().apply(
        {'params': params['depth_stack']}, x.reshape(12, 3, 16)
    )
    expected, _ = apply(codes(), given, books, method='hidden')
    return rebuilt.reshape(2, 6, 3, 16), expected

  assert_close(*run(variables(name)))


def test_codewords_of_their_own_are_used_by_depth():
  # Three copies of a codebook act as a shared one; another third does not.
  model = MODELS['codebook']
  books = codebooks(3)

  def run(books):
    return _apply(model)(
        variables('codebook'), codes(), condition(model), books
    )[0]

  shared = logits('codebook')
  assert_close(run(codebooks() * 3), shared)
  other = run((*codebooks(), *codebooks(), books[2]))
  # The third code enters at the next position first.
  np.testing.assert_array_equal(other[:, 0, 0], shared[:, 0, 0])
  assert (np.abs(other - shared)[:, 0, 1:].max((0, -1)) > 1e-4).all()


def test_embeddings_drop_out_in_training_alone():
  # Without layers, a context is the input of the spatial transformer.
  options = dict(spatial_layers=0, depth_layers=0, embedding_dropout=0.5)
  model = tiny(**options)
  made = drawn.variables(model, codes(), condition(model), codebooks())

  @functools.partial(jax.jit, static_argnums=0)
  def run(train):
    hidden, _ = model.apply(
        made,
        codes(),
        condition(model),
        codebooks(),
        train=train,
        rngs={'dropout': jax.random.key(1)},
        method='hidden',
    )
    return hidden[:, :, 0] - made['params']['depth_position'][:1][None]

  calm, noisy = np.asarray(run(False)), np.asarray(run(True))
  dropped = noisy == 0
  # Five standard errors of 192 draws.
  assert abs(dropped.mean() - 0.5) < 0.18
  assert_close(noisy[~dropped], 2 * calm[~dropped])


def test_options_of_blocks_reach_both_stacks():
  options = dict(
      width=32,
      heads=4,
      attention_bias=False,
      mlp_bias=False,
      gelu='sigmoid',
      dropout=0.3,
      attention_dropout=0.2,
      dtype='bfloat16',
      gradient_dtype='float32',
  )
  model = tiny(**options, depth_gelu='exact', remat='full', depth_layers=3)
  spatial, depth = model.make_spatial_stack(), model.make_depth_stack()
  assert dict(spatial.block) == options
  assert dict(depth.block) == options | {'gelu': 'exact'}
  assert (spatial.layers, depth.layers) == (2, 3)
  assert spatial.remat == depth.remat == 'full'
  assert dict(tiny(**options).make_depth_stack().block) == options


def test_bfloat16_gives_finite_float32_logits():
  model = tiny(dtype='bfloat16')
  out, _, _ = _apply(model)(
      variables('codebook'), codes(), condition(model), codebooks()
  )
  assert out.dtype == jnp.float32
  assert (out != logits('codebook')).any()
  # bfloat16 has 8 significant bits; the error grows over four layers.
  assert np.abs(out - logits('codebook')).max() < 0.3


def test_a_null_class_adds_one_condition():
  shapes = {}
  for null in (False, True):
    model = tiny(null_class=null)
    made = jax.eval_shape(
        model.init, jax.random.key(0), codes(), condition(model), codebooks()
    )
    table = partitioning.unbox(made)['params']['condition_embedding']
    shapes[null] = table.shape
  assert shapes == {False: (5, 16), True: (6, 16)}
