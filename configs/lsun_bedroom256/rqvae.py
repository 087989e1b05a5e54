r"""RQ-VAE on LSUN-Bedroom, 256x256: 8x8 positions, 4 of 16384 codes at each.

One epoch over 3 million images of bedrooms, from the RQ-VAE of ImageNet.

  python -m rq_jax train \
      --config=configs/lsun_bedroom256/rqvae.py \
      --config.data.path=data/lsun_bedroom \
      --config.init_from=runs/imagenet256/rqvae \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/lsun_bedroom256/rqvae

The run takes 1317 x 10^9 operations an image and 4.0e18 in all: at 40 % of the
peak of a chip, about 6 hours of an H100, 18 of an A100 or 10 of a TPU v4.

The authors' batch is 32 images a process; how many processes they ran is not
published, and four are our choice. That so short a run starts from ImageNet is
our reading. What else differs is told in configs/imagenet256/rqvae.py.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqvae()
  config.data.update(crop='center')
  config.train.epochs = 1.0
  return config
