r"""RQ-Transformer on Conceptual Captions (CC-3M) 256x256, by text: 654M.

The paper's FID is 12.33, with --top_p=0.7. Captions have 32 tokens from a
vocabulary of 16384. Their prediction is a tenth of the loss, as in the official
recipe. The tokenizer is that of configs/imagenet256/rqvae.py.

To encode the pairs from the tar files that img2dataset writes:

  python -m rq_jax prepare \
      --from=webdataset --src=downloads/cc3m --out=data/cc3m
  python -m rq_jax encode \
      --tokenizer=runs/imagenet256/rqvae --config.data.path=data/cc3m \
      --out=cache/cc3m256

No command reads captions yet, but `training.stage2.train_step` takes batches of
'features' and 'tokens'. So this command only prints a plan:

  python -m rq_jax train \
      --config=configs/cc3m256/rqtransformer.py \
      --config.tokenizer=runs/imagenet256/rqvae \
      --config.data.path=cache/cc3m256 --dry_run --devices=64

The run takes 470 x 10^9 operations per image and 1.6e20 in all for 3.3 million
pairs. At 40 % of a chip's peak, this is about 110 hours on an H100, 350 on an
A100, or 390 on a TPU v4.
"""

from rq_jax.config import recipes


def get_config():
  config = recipes.rqtransformer()
  config.model.update(
      width=1280,
      heads=20,
      spatial_layers=26,
      depth_layers=4,
      text_vocab_size=16384,
      text_length=32,
  )
  config.loss.condition_weight = 0.1  # The codes have the weight 0.9.
  return config
