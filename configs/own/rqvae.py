r"""RQ-VAE on images of your own: 32x32, 64x64, 128x128 or 256x256 pixels.

  python -m rq_jax train \
      --config=configs/own/rqvae.py:64 --config.data.path=photos \
      --workdir=runs/mine/rqvae

Nothing else needs to be set. docs/own_images.md shows how to arrange the images
and what to do next; configs/own/rqtransformer.py is the second stage.

| size | code map | codewords | parameters | batch | at least | for |
|---|---|---|---|---|---|---|
| 32 | 4x4x4 | 256 | 1.0M | 8 | 4000 steps | a CPU |
| 64 | 8x8x4 | 256 | 1.0M | 8 | 3000 steps | a CPU |
| 128 | 8x8x4 | 1024 | 19M | 32 | 50000 steps | a GPU |
| 256 | 8x8x4 | 4096 | 100M | 32 | 100000 steps | a GPU or more |

A run takes 10 epochs, but at least the steps of the table: a few hundred images
need many epochs, and millions of images only a few.
`--config.train.min_steps` and `--config.train.epochs` change this. With more
than a hundred thousand images, use an accelerator and larger batches for the
small sizes, too: `--config.data.batch_size=64`.

The loss is the squared error. For sharper images at 128 and 256, add LPIPS:
`--config.loss.perceptual_weight=1 --config.loss.perceptual_path=FOLDER`, see
docs/convert.md. On a CPU, the small networks gain most from many cheap
steps, so their batches are small. A learning rate of 3e-3 was too high: the
loss stopped falling early.
"""

from rq_jax import config as config_lib
from rq_jax.config import recipes

_SMALL = dict(
    channels=16,
    channel_multipliers=(1, 2, 4, 4),
    res_blocks=(0, 1, 1, 1),
    z_channels=64,
    embed_dim=64,
    codebook_size=256,
    decay=0.98,
    norm_groups=8,
)
_MODELS = {
    '32': _SMALL | dict(code_shape=(4, 4, 4)),
    '64': _SMALL | dict(code_shape=(8, 8, 4)),
    '128': dict(
        channels=64,
        channel_multipliers=recipes.MULTIPLIERS[16],
        embed_dim=256,
        codebook_size=1024,
    ),
    '256': dict(
        channels=128,
        channel_multipliers=recipes.MULTIPLIERS[32],
        embed_dim=256,
        codebook_size=4096,
    ),
}
_LEAST_STEPS = {'32': 4000, '64': 3000, '128': 50_000, '256': 100_000}


def get_config(size='64'):
  model = recipes.choose('size', size, _MODELS)
  side, small = int(size), size in ('32', '64')
  config = config_lib.template(stage=1)
  config.data.update(
      source='image_folder',
      image_size=side,
      crop='random',
      batch_size=8 if small else 32,
      workers=0 if small else 8,
  )
  config.model.update(
      image_size=side,
      attention_resolutions=() if small else (8,),
      **model,
  )
  config.optimizer.update(
      name='adam',
      peak_lr=1e-3 if small else 2e-4,
      betas=(0.9, 0.99),
      clip_norm=1.0,
      warmup_steps=_LEAST_STEPS[size] // 50,
      schedule='cosine',
  )
  config.train.update(
      epochs=10.0,
      min_steps=_LEAST_STEPS[size],
      log_steps=50 if small else 100,
      eval_steps=1000 if small else 5000,
      eval_images=5000,
      checkpoint_steps=1000,
  )
  return config
