r"""RQ-VAE on ImageNet, 256x256: 8x8 positions, 4 of 16384 codes at each.

The paper's tokenizer, trained for 10 epochs. The paper's best results use one
that was trained for 50: --config.train.epochs=50.

  python -m rq_jax prepare \
      --from=imagenet --src=downloads/imagenet --out=data/imagenet
  python -m rq_jax train \
      --config=configs/imagenet256/rqvae.py --config.data.path=data/imagenet \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/imagenet256/rqvae

To train from a folder of images, add --config.data.source=image_folder.

The run takes 1317 x 10^9 operations per image and 1.7e19 in all. At 40 % of a
chip's peak, this is about 24 hours on an H100, 75 on an A100, or 43 on a TPU
v4.

The authors train with 32 images per process; the batch of 128 here is that of
four processes. They recompute blocks in the backward pass, which
--config.model.remat=full does here. They train in float32, as is the default
here; you can choose --config.model.dtype=bfloat16 instead. Their codebook moves
after every depth. Here, it moves once per step; for the authors' order, set
--config.model.codebook_update=depth.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqvae()
  config.data.update(crop='random', flip=True)
  config.optimizer.warmup_steps = 5004  # Half an epoch.
  config.train.epochs = 10.0
  return config
