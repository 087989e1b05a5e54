r"""RQ-Transformer on 30 million texts and images 256x256: 3.9B parameters.

The authors' largest model. Its FID on 30000 captions of MS-COCO is 16.9, with
--top_k=1024 --top_p=0.95. Its configuration is not published. Its shape follows
from its size, except for the length of texts: the default here is 32 tokens,
and configs/text256/rqtransformer.py:64 has 64. The recipe is that of
configs/cc3m256/rqtransformer.py; the 10 epochs are our choice. The tokenizer is
that of configs/imagenet256/rqvae.py.

No command reads captions yet, so this command only prints a plan:

  python -m rq_jax train \
      --config=configs/text256/rqtransformer.py:64 \
      --config.tokenizer=runs/imagenet256/rqvae \
      --config.data.path=cache/text256 --dry_run --devices=256

With 32 tokens, the run takes 2721 x 10^9 operations per image and 8.2e20 in
all. At 40 % of a chip's peak, this is about 570 hours on an H100, 1800 on an
A100, or 2100 on a TPU v4.
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
      text_length=recipes.choose(
          'text length', text_length, {'32': 32, '64': 64}
      ),
  )
  config.loss.condition_weight = 0.1  # The codes have the weight 0.9.
  config.train.epochs = 10.0
  config.mesh.update(data=1, fsdp=-1)
  return config
