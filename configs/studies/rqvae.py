r"""RQ-VAEs of the paper's study of code shapes, on ImageNet 256x256.

How deep stacks and how large a codebook should be: the argument tells both, as
in `8x8x4-k16384`. Stacks have 1, 2, 4, 8 or 16 codes; k, 16384 if it is not
told, goes up to 131072. The paper's rFID of 8x8x16 is 1.83.

  python -m rq_jax train \
      --config=configs/studies/rqvae.py:8x8x2 --config.data.path=data/imagenet \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/studies/8x8x2
  python -m rq_jax train \
      --config=configs/studies/rqvae.py:8x8x1-k131072 \
      --config.data.path=data/imagenet \
      --config.loss.perceptual_path=checkpoints/lpips \
      --workdir=runs/studies/8x8x1-k131072

The recipe, its cost and what differs from the paper are those of
configs/imagenet256/rqvae.py: the search for codes is a small part of a step.
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
