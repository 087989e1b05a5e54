r"""RQ-VAEs of the paper's study of code shapes, on ImageNet 256x256.

The study varies the depth of the code stacks and the size of the codebook. The
argument sets both, as in `8x8x4-k16384`: stacks have 1, 2, 4, 8 or 16 codes,
and k is the codebook size, by default 16384 and in the paper up to 131072. The
paper's rFID with 8x8x16 codes is 1.83. docs/data.md shows how to prepare
ImageNet.

  python -m rq_jax train \
      --config=configs/studies/rqvae.py:8x8x2 --config.data.path=data/imagenet \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/studies/8x8x2
  python -m rq_jax train \
      --config=configs/studies/rqvae.py:8x8x1-k131072 \
      --config.data.path=data/imagenet \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/studies/8x8x1-k131072

For the recipe, its cost and its differences from the paper, see
configs/imagenet256/rqvae.py. The cost is about the same for all shapes, because
the search for codes is a small part of a step.
"""

from rq_jax.config import recipes


def get_config(shape='8x8x4'):
  codes = recipes.parse(
      r'8x8x(1|2|4|8|16)(?:-k([1-9]\d*))?', shape, '8x8x4-k16384'
  )
  config = recipes.rqvae()
  config.data.update(crop='random', flip=True)
  config.model.update(
      code_shape=(8, 8, int(codes[1])), codebook_size=int(codes[2] or 16384)
  )
  config.optimizer.warmup_steps = 5004  # Half an epoch.
  config.train.epochs = 10.0
  return config
