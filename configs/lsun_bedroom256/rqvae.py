r"""RQ-VAE on LSUN-Bedroom, 256x256: 8x8 positions, 4 of 16384 codes at each.

One epoch over 3 million images of bedrooms, from the RQ-VAE of ImageNet.

  python -m rq_jax prepare --from=lsun \
      --src=downloads/lsun/bedroom --out=data/lsun_bedroom
  python -m rq_jax train \
      --config=configs/lsun_bedroom256/rqvae.py \
      --config.data.path=data/lsun_bedroom \
      --config.init_from=runs/imagenet256/rqvae \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/lsun_bedroom256/rqvae

The run takes 1317 x 10^9 operations per image and 4.0e18 in all. At 40 % of a
chip's peak, this is about 6 hours on an H100, 18 on an A100, or 10 on a TPU v4.

The authors' batch is 32 images per process. How many processes they ran is not
published; four, for a batch of 128, are our choice. Starting from the RQ-VAE of
ImageNet is our reading of the paper, because the run is so short. For all other
differences, see configs/imagenet256/rqvae.py.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqvae()
  config.data.update(crop='center')
  config.train.epochs = 1.0
  return config
