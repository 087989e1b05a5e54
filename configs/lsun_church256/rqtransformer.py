r"""RQ-Transformer on LSUN-Church 256x256, unconditional: 370M parameters.

The paper's FID is 7.45.

After the RQ-VAE of configs/lsun_church256/rqvae.py:

  python -m rq_jax encode \
      --tokenizer=runs/lsun_church256/rqvae --out=cache/lsun_church256
  python -m rq_jax train \
      --config=configs/lsun_church256/rqtransformer.py \
      --config.tokenizer=runs/lsun_church256/rqvae \
      --config.data.path=cache/lsun_church256 \
      --workdir=runs/lsun_church256/rqtransformer
  python -m rq_jax sample \
      --checkpoint=runs/lsun_church256/rqtransformer --num_images=50000 \
      --top_k=250 --out=samples/lsun_church256

The run takes 225 x 10^9 operations per image and 8.5e18 in all. At 40 % of a
chip's peak, this is about 6 hours on an H100, 19 on an A100, or 22 on a TPU v4.

The authors train on all images and evaluate on the same images. Here, the 300
validation images of LSUN are held out.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqtransformer()
  config.data.batch_size = 256
  config.model.update(width=1024, heads=16, spatial_layers=24, depth_layers=4)
  config.train.epochs = 300.0
  return config
