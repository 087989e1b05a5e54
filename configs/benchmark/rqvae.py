r"""RQ-VAEs whose decoding speed the paper measures.

The argument is f{8,16,32}-d{depth}-k{codebook size}; f is the width of a
position in pixels, and f32-d4-k16384 is the paper's RQ-VAE. `rq_jax benchmark`
times them with random weights. To print a plan:

  python -m rq_jax train --config=configs/benchmark/rqvae.py:f16-d1-k1024 \
      --config.loss.perceptual_path=checkpoints/lpips --dry_run
"""

from rq_jax.config import recipes


def get_config(shape='f32-d4-k16384'):
  shape = recipes.parse(
      r'f(8|16|32)-d([1-9]\d*)-k([1-9]\d*)', shape, 'f32-d4-k16384'
  )
  pixels = int(shape[1])
  side = 256 // pixels
  config = recipes.rqvae()
  config.model.update(
      channel_multipliers=recipes.MULTIPLIERS[pixels],
      attention_resolutions=(side,),
      code_shape=(side, side, int(shape[2])),
      codebook_size=int(shape[3]),
  )
  config.train.epochs = 1.0
  return config
