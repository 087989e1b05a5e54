r"""RQ-Transformers whose sampling the paper times, of ImageNet's classes.

The argument is SIZE-f{8,16,32}-d{depth}-k{codebook size}, as in
huge-f32-d4-k16384, which takes 0.02 s an image on an A100 at batch 500 in the
paper. Sizes are small, medium, large and huge. With d1, all layers are spatial.
vqgan_large and vqgan_huge are the transformers of VQ-GAN, for f16-d1-k1024 and
f16-d1-k16384. The tokenizers are those of configs/benchmark/rqvae.py.

  python -m rq_jax benchmark sampling --batch_size=100,200,500 \
      --config=configs/benchmark/rqtransformer.py:huge-f32-d4-k16384
  python -m rq_jax train \
      --config=configs/benchmark/rqtransformer.py:huge-f32-d4-k16384 \
      --config.tokenizer=runs/rqvae --config.data.path=cache/imagenet256 \
      --dry_run
  python -m rq_jax train \
      --config=configs/benchmark/rqtransformer.py:vqgan_huge-f16-d1-k16384 \
      --config.tokenizer=runs/rqvae --config.data.path=cache/imagenet256 \
      --dry_run
"""

from rq_jax.config import recipes

# Width, heads, layers of the spatial and of the depth transformer.
SIZES = {
    'small': (512, 8, 24, 4),
    'medium': (1024, 16, 24, 4),
    'large': (1536, 24, 24, 4),
    'huge': (1536, 24, 42, 6),
    'vqgan_large': (1664, 16, 24, 0),
    'vqgan_huge': (1536, 24, 48, 0),
}
VQGAN = {'vqgan_large': 'f16-d1-k1024', 'vqgan_huge': 'f16-d1-k16384'}


def get_config(model='huge-f32-d4-k16384'):
  size, _, codes = model.partition('-')
  width, heads, spatial, depth = recipes.choose('size', size, SIZES)
  if size in VQGAN:  # Its shape of codes alone.
    recipes.choose('shape of codes', codes, {VQGAN[size]: ()})
  shape = recipes.parse(
      r'f(8|16|32)-d([1-9]\d*)-k([1-9]\d*)', codes, 'f32-d4-k16384'
  )
  side, stack = 256 // int(shape[1]), int(shape[2])
  if stack == 1:
    spatial, depth = spatial + depth, 0
  config = recipes.rqtransformer()
  config.model.update(
      code_shape=(side, side, stack),
      codebook_size=int(shape[3]),
      width=width,
      heads=heads,
      spatial_layers=spatial,
      depth_layers=depth,
      num_classes=1000,
  )
  return config
