r"""RQ-VAE on ImageNet, 256x256: 8x8 positions, 4 of 16384 codes at each.

The paper's tokenizer, of 10 epochs; its best results stand on one of 50:
--config.train.epochs=50.

  python -m rq_jax train \
      --config=configs/imagenet256/rqvae.py --config.data.path=data/imagenet \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/imagenet256/rqvae

The run takes 1317 x 10^9 operations an image and 1.7e19 in all: at 40 % of the
peak of a chip, about 24 hours of an H100, 75 of an A100 or 43 of a TPU v4.

The authors' batch is 32 images a process, of which we take four. Theirs are
float32 and recompute blocks in the backward pass; --config.model.dtype=bfloat16
and --config.model.remat=True are there to choose. Their codebook moves after
every depth, ours once a step (--config.model.codebook_update=depth for theirs).
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqvae()
  config.data.update(crop='random', flip=True)
  config.optimizer.warmup_steps = 5004  # Half an epoch.
  config.train.epochs = 10.0
  return config
