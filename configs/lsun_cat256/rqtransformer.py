r"""RQ-Transformer on LSUN-Cat 256x256, unconditional: 612M parameters.

The paper's FID is 8.64.

After the RQ-VAE of configs/lsun_cat256/rqvae.py:

  python -m rq_jax encode \
      --config=configs/lsun_cat256/rqvae.py \
      --config.data.path=data/lsun_cat \
      --tokenizer=runs/lsun_cat256/rqvae --out=cache/lsun_cat256
  python -m rq_jax train \
      --config=configs/lsun_cat256/rqtransformer.py \
      --config.tokenizer=runs/lsun_cat256/rqvae \
      --config.data.path=cache/lsun_cat256 \
      --workdir=runs/lsun_cat256/rqtransformer
  python -m rq_jax sample \
      --checkpoint=runs/lsun_cat256/rqtransformer --num_images=50000 \
      --top_k=250 --out=samples/lsun_cat256

The run takes 369 x 10^9 operations an image and 6.1e19 in all: at 40 % of the
peak of a chip, about 43 hours of an H100, 140 of an A100 or 150 of a TPU v4.

The authors train on all images and evaluate on the same; here, every fifth is
held out of a folder that is not divided into train/ and test/.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqtransformer()
  config.model.update(width=1280, heads=20, spatial_layers=26, depth_layers=4)
  return config
