r"""RQ-Transformer on LSUN-Cat 256x256, unconditional: 612M parameters.

The paper's FID is 8.64.

After the RQ-VAE of configs/lsun_cat256/rqvae.py:

  python -m rq_jax encode \
      --tokenizer=runs/lsun_cat256/rqvae --out=cache/lsun_cat256
  python -m rq_jax train \
      --config=configs/lsun_cat256/rqtransformer.py \
      --config.tokenizer=runs/lsun_cat256/rqvae \
      --config.data.path=cache/lsun_cat256 \
      --workdir=runs/lsun_cat256/rqtransformer
  python -m rq_jax sample \
      --checkpoint=runs/lsun_cat256/rqtransformer --num_images=50000 \
      --top_k=250 --out=samples/lsun_cat256

The run takes 369 x 10^9 operations per image and 6.1e19 in all. At 40 % of a
chip's peak, this is about 43 hours on an H100, 140 on an A100, or 150 on a TPU
v4.

The authors train on all images and evaluate on the same images. Here, every
fifth image is held out, because LSUN has no validation images of cats.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqtransformer()
  config.model.update(width=1280, heads=20, spatial_layers=26, depth_layers=4)
  return config
