r"""RQ-Transformers whose sampling speed the paper measures, on ImageNet.

The argument is SIZE-f{8,16,32}-d{depth}-k{codebook size}. SIZE is small,
medium, large or huge; f is the width of a position in pixels. With d1, all
layers are spatial. In the paper, huge-f32-d4-k16384 takes 0.02 s per image on
an A100 at batch size 500. The transformers of VQ-GAN are
vqgan_large-f16-d1-k1024 and vqgan_huge-f16-d1-k16384. The tokenizers are those
of configs/benchmark/rqvae.py.

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

# Width, heads, layers of the spatial transformer, layers of the depth one.
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
  if size in VQGAN:  # These models have only one code shape.
    recipes.choose('code shape', codes, {VQGAN[size]: ()})
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
