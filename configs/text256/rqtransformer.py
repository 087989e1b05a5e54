r"""RQ-Transformer on 30 million texts and images 256x256: 3.9B parameters.

The authors' largest model. Its FID on 30000 captions of MS-COCO is 16.9, with
--top_k=1024 --top_p=0.95. Its configuration is not published: the shape follows
from its size, which does not tell whether texts have 32 tokens, the default
here, or 64 (configs/text256/rqtransformer.py:64); the recipe is that of
configs/cc3m256/rqtransformer.py, and the epochs, 10, are our choice. The codes
are those of configs/imagenet256/rqvae.py.

No command reads captions yet, so that this one only plans:

  python -m rq_jax train \
      --config=configs/text256/rqtransformer.py:64 \
      --config.tokenizer=runs/imagenet256/rqvae \
      --config.data.path=cache/text256 --dry_run --devices=256

With 32 tokens, the run takes 2721 x 10^9 operations an image and 8.2e20 in all:
at 40 % of the peak of a chip, about 570 hours of an H100, 1800 of an A100 or
2100 of a TPU v4.
"""

from rq_jax.config import recipes


def get_config(text_length='32'):
  config = recipes.rqtransformer()
  config.model.update(
      width=2560,
      heads=40,
      spatial_layers=42,
      depth_layers=6,
      text_vocab_size=16384,
      text_length=recipes.choose('text', text_length, {'32': 32, '64': 64}),
  )
  config.loss.condition_weight = 0.1  # And 0.9 for the image.
  config.train.epochs = 10.0
  config.mesh.update(data=1, fsdp=-1)
  return config
