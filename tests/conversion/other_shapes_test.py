"""RQ-VAEs that others trained with the official code at their own shapes.

A NumPy version of the official network gives the expected values; that it is
one, `not_square_test` shows.
"""

import jax
import numpy as np
import pytest

from rq_jax.conversion import mapping
from rq_jax.conversion import official_model
from rq_jax.conversion import state_dicts
from rq_jax.conversion.configs import reader
from rq_jax.jobs.convert import from_official
from rq_jax.jobs.convert import to_official
from rq_jax.tokenizer import Tokenizer
from tests import official
from tests.conversion import checkpoints
from tests.conversion import official_rqvae


def _raw(code_shape, resolution, levels, **hparams):
  """The config of a training run, as its trainer writes it."""
  raw = checkpoints.raw('rqvae_shared')
  height, width, depth = code_shape
  raw['arch']['ddconfig'] |= dict(
      resolution=resolution, ch_mult=levels, attn_resolutions=[height]
  )
  raw['arch']['hparams'] |= dict(
      latent_shape=[height, width, 32], code_shape=[height, width, depth]
  )
  raw['arch']['hparams'] |= hparams
  raw |= dict(
      arch=raw['arch'] | {'ema': None},
      result_path='results/imagenet256-rqvae-16x16',
      seed=0,
      runtime={'args': {'world_size': 8}},
  )
  return raw


# By code shape: a tiny model with maps of that shape.
TINY = {
    '16x16x2': ((16, 16, 2), 32, [1, 1], dict(n_embed=40)),
    '32x32x2': (
        (32, 32, 2),
        32,
        [1],
        dict(n_embed=[40, 24], shared_codebook=False, decay=[0.99, 0.9]),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', TINY)
def test_a_checkpoint_of_training_computes_what_the_official_network_does(
    name, tmp_path, capsys
):
  code_shape, resolution, levels, hparams = TINY[name]
  raw = _raw(code_shape, resolution, levels, **hparams)
  state = checkpoints.drawn(raw)
  checkpoints.write(
      tmp_path / 'src',
      raw,
      state,
      name='epoch20_model.pt',
      epoch=20,
      optimizer={'state': {0: {'exp_avg': np.ones(3)}}, 'param_groups': []},
      state_dict_ema={n: np.zeros_like(a) for n, a in state.items()},
  )
  from_official.from_official(str(tmp_path / 'src'), str(tmp_path / 'dst'))
  assert (
      "Took the arrays in 'state_dict'; ignored 'epoch', 'optimizer',"
      " 'state_dict_ema'."
  ) in capsys.readouterr().out
  tokenizer = Tokenizer.restore(str(tmp_path / 'dst'), verbose=False)
  rng = np.random.default_rng(0)
  images = rng.uniform(-1, 1, (1, 3, resolution, resolution)).astype('f4')
  expected = official_rqvae.OfficialRQVAE(state)
  codes = expected.codes(expected.features(images), code_shape[2])
  assert codes.shape == (1, *code_shape) and len(np.unique(codes)) > 8
  # `convert` has compiled the same program.
  made = jax.jit(tokenizer.model.apply)(
      tokenizer.variables, official.images(images)
  )
  np.testing.assert_array_equal(made.quantized.codes, codes)
  np.testing.assert_allclose(
      made.images,
      official.images(expected.images(codes)),
      rtol=1e-5,
      atol=1e-5,
  )
  to_official.to_official(str(tmp_path / 'dst'), str(tmp_path / 'back'))
  with state_dicts.open_state_dict(tmp_path / 'back/stage1/model.pt') as back:
    assert list(back.tensors) == list(state)
    for array_name, array in state.items():
      np.testing.assert_array_equal(back.read(array_name), array, strict=True)


# Published tokenizers have five levels; those of the paper have six.
@pytest.mark.parametrize(
    ('code_shape', 'resolution'),
    [
        ((16, 16, 8), 256),
        ((32, 32, 2), 512),
    ],
)
def test_published_shapes_have_the_arrays_of_the_official_network(
    code_shape, resolution
):
  raw = _raw(code_shape, resolution, [1, 1, 2, 2, 4], n_embed=16384)
  side, _, depth = code_shape
  raw['arch']['ddconfig'] |= dict(ch=128, num_res_blocks=2, z_channels=256)
  raw['arch']['hparams'] |= dict(embed_dim=256, latent_shape=[side, side, 256])
  model = reader.read(raw, 'config.yaml').config.model
  assert (model.image_size, model.code_shape) == (resolution, code_shape)
  abstract, rows = official_model.model_table(model)
  shapes = mapping.official_shapes(rows, mapping.shapes(abstract))
  # Ends, blocks, changes of resolution and of width, attention and the middle.
  encoder = 2 + 5 * 2 * 8 + 4 * 2 + 2 * 2 + 2 * 10 + 26 + 4
  decoder = 2 + 5 * 3 * 8 + 4 * 2 + 2 * 2 + 3 * 10 + 26 + 4
  assert len(shapes) == encoder + decoder + 2 * 2 + depth * 3
  assert shapes['encoder.down.4.attn.1.q.weight'] == (512, 512, 1, 1)
  assert shapes['decoder.up.4.attn.2.q.weight'] == (512, 512, 1, 1)
  assert shapes['encoder.down.2.block.0.nin_shortcut.weight'] == (
      256, 128, 1, 1
  )  # fmt: skip
  assert shapes[f'quantizer.codebooks.{depth - 1}.weight'] == (16385, 256)
  assert 'encoder.down.4.downsample.conv.weight' not in shapes
