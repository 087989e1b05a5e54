r"""RQ-VAE on FFHQ, 256x256: 8x8 positions, 4 of 2048 codes at each.

The paper's tokenizer of faces, trained for 150 epochs. It has self-attention at
the resolution 16x16.

  python -m rq_jax prepare \
      --from=folder --src=downloads/ffhq --out=data/ffhq
  python -m rq_jax train \
      --config=configs/ffhq256/rqvae.py --config.data.path=data/ffhq \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/ffhq256/rqvae

downloads/ffhq has 60000 images in train/ and 10000 in test/. docs/data.md shows
how to arrange them.

The run takes 1324 x 10^9 operations per image and 1.2e19 in all. At 40 % of a
chip's peak, this is about 17 hours on an H100, 53 on an A100, or 30 on a TPU
v4.

The authors' batch is 32 images per process. How many processes they ran is not
published; four, for a batch of 128, are our choice. For all other differences,
see configs/imagenet256/rqvae.py.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqvae()
  config.data.update(crop='random_resized', flip=True)
  config.model.update(codebook_size=2048, attention_resolutions=(16,))
  config.optimizer.warmup_steps = 2344  # 5 epochs.
  config.train.epochs = 150.0
  return config
