r"""RQ-Transformer on FFHQ 256x256, unconditional: 355M parameters.

The paper's FID is 10.38.

After the RQ-VAE of configs/ffhq256/rqvae.py:

  python -m rq_jax encode \
      --tokenizer=runs/ffhq256/rqvae --out=cache/ffhq256
  python -m rq_jax train \
      --config=configs/ffhq256/rqtransformer.py \
      --config.tokenizer=runs/ffhq256/rqvae --config.data.path=cache/ffhq256 \
      --workdir=runs/ffhq256/rqtransformer
  python -m rq_jax sample \
      --checkpoint=runs/ffhq256/rqtransformer --num_images=50000 \
      --top_k=250 --out=samples/ffhq256

The run takes 199 x 10^9 operations per image and 2.4e18 in all. At 40 % of a
chip's peak, this is about 2 hours on an H100, 5 on an A100, or 6 on a TPU v4.

The cache holds one view of each image, its center. With --views=8, `encode`
stores eight random crops of each training image. The authors crop and flip
again in every epoch. To do the same, encode the images in the training step:
--config.data.source=tfds --config.data.path=data/ffhq
--config.data.crop=random_resized --config.data.flip=True.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqtransformer()
  config.data.batch_size = 128
  config.model.update(
      codebook_size=2048,
      width=1024,
      heads=16,
      spatial_layers=24,
      depth_layers=4,
  )
  config.train.epochs = 200.0
  return config
