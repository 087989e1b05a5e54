r"""RQ-Transformer on LSUN-Bedroom 256x256, unconditional: 612M parameters.

The paper's FID is 3.04.

After the RQ-VAE of configs/lsun_bedroom256/rqvae.py:

  python -m rq_jax encode \
      --tokenizer=runs/lsun_bedroom256/rqvae --out=cache/lsun_bedroom256
  python -m rq_jax train \
      --config=configs/lsun_bedroom256/rqtransformer.py \
      --config.tokenizer=runs/lsun_bedroom256/rqvae \
      --config.data.path=cache/lsun_bedroom256 \
      --workdir=runs/lsun_bedroom256/rqtransformer
  python -m rq_jax sample \
      --checkpoint=runs/lsun_bedroom256/rqtransformer --num_images=50000 \
      --top_k=250 --out=samples/lsun_bedroom256

The run takes 369 x 10^9 operations per image and 1.1e20 in all. At 40 % of a
chip's peak, this is about 79 hours on an H100, 250 on an A100, or 280 on a TPU
v4.

The authors train on all images and evaluate on the same images. Here, the 300
validation images of LSUN are held out.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqtransformer()
  config.model.update(width=1280, heads=20, spatial_layers=26, depth_layers=4)
  return config
