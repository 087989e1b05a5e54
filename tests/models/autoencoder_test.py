import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import autoencoder
from tests import programs
from tests import random_numbers
from tests.models import drawn

NETWORK = dict(
    image_size=16,
    channels=8,
    channel_multipliers=(1, 2, 3),
    res_blocks=(1, 2, 1),
    attention_resolutions=(8,),
    norm_groups=4,
)
ENCODER = autoencoder.Encoder(**NETWORK, features=6)
DECODER = autoencoder.Decoder(**NETWORK)
IMAGES = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
FEATURES = jax.ShapeDtypeStruct((2, 4, 4, 6), jnp.float32)


def _shapes(module, x):
  """Shape of the output, and shapes of the kernels by layer."""
  out, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
  kernels = {
      '/'.join(key.key for key in path[:-2]): value.shape
      for path, value in jax.tree_util.tree_leaves_with_path(
          partitioning.unbox(variables)['params']
      )
      if path[-1].key == 'kernel'
  }
  return out.shape, kernels


def _levels(kernels, kind):
  """Levels and indices of the blocks of a kind: {(level, index)}."""
  parts = [name.split('/')[0].split('_') for name in kernels]
  return {
      (int(p[1]), int(p[3])) for p in parts if p[0] == 'level' and p[2] == kind
  }


def test_the_encoder_halves_the_image_at_every_level_after_the_first():
  shape, kernels = _shapes(ENCODER, IMAGES)
  assert shape == (2, 4, 4, 6)
  assert _levels(kernels, 'block') == {(0, 0), (1, 0), (1, 1), (2, 0)}
  assert 'level_1_downsample/conv' in kernels
  assert 'level_2_downsample/conv' not in kernels
  # Channels grow where a level starts.
  assert kernels['conv_in'] == (3, 3, 3, 8)
  assert kernels['level_0_block_0/conv1'] == (3, 3, 8, 8)
  assert kernels['level_1_block_0/conv1'] == (3, 3, 8, 16)
  assert kernels['level_2_block_0/conv1'] == (3, 3, 16, 24)
  assert kernels['conv_out'] == (3, 3, 24, 6)


def test_the_decoder_has_one_block_more_in_every_level():
  shape, kernels = _shapes(DECODER, FEATURES)
  assert shape == (2, 16, 16, 8)
  assert _levels(kernels, 'block') == {
      *((0, i) for i in range(2)),
      *((1, i) for i in range(3)),
      *((2, i) for i in range(2)),
  }
  assert kernels['conv_in'] == (3, 3, 6, 24)
  assert kernels['level_2_block_0/conv1'] == (3, 3, 24, 24)
  assert kernels['level_0_block_0/conv1'] == (3, 3, 16, 8)


def test_levels_attend_at_the_resolutions_that_were_named():
  for module, x in ((ENCODER, IMAGES), (DECODER, FEATURES)):
    _, kernels = _shapes(module, x)
    # A map of 8x8 is level 1, and every block of it attends.
    attending = _levels(kernels, 'attention')
    assert attending == {b for b in _levels(kernels, 'block') if b[0] == 1}
    assert 'mid_attention/query' in kernels
    _, none = _shapes(module.clone(attention_resolutions=()), x)
    assert not _levels(none, 'attention')


def test_the_shorter_side_of_a_map_names_the_level_that_attends():
  # Maps of 8x16 are level 1, and maps of 16x8 as well.
  for size in ((16, 32), (32, 16)):
    for module, x in (
        (ENCODER, (2, *size, 3)),
        (DECODER, (2, size[0] // 4, size[1] // 4, 6)),
    ):
      shape, kernels = _shapes(
          module.clone(image_size=size), jax.ShapeDtypeStruct(x, jnp.float32)
      )
      assert {level for level, _ in _levels(kernels, 'attention')} == {1}
      if module is ENCODER:
        assert shape == (2, size[0] // 4, size[1] // 4, 6)
      else:
        assert shape == (2, *size, 8)


@pytest.mark.parametrize('policy', ['products', 'full'])
def test_recomputed_blocks_have_the_same_gradients(policy):
  options = dict(
      image_size=8,
      channels=8,
      channel_multipliers=(1,),
      res_blocks=(1,),
      norm_groups=4,
      dropout=0.3,
  )
  x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
  encoder = autoencoder.Encoder(**options, features=4)
  params = drawn.variables(encoder, x)

  def gradients(remat):
    def loss(params):
      out = encoder.clone(remat=remat).apply(
          params,
          x,
          True,
          rngs={'dropout': random_numbers.key(7)},
      )
      return jnp.sum(jnp.sin(out))

    traced = jax.jit(jax.grad(loss)).trace(params)
    names = [e.primitive.name for e in programs.equations_in(traced.jaxpr)]
    assert ('remat2' in names or 'checkpoint' in names) == (remat != 'none')
    convolutions = names.count('conv_general_dilated')
    return traced.lower().compile()(params), convolutions

  (found, convolutions), (expected, least) = map(gradients, (policy, 'none'))
  # Of each of the three blocks, 'full' repeats the first convolution. No
  # gradient needs the result of the second one.
  assert convolutions - least == (3 if policy == 'full' else 0)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
      found,
      expected,
  )
