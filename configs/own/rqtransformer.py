r"""RQ-Transformer on images of your own: small, base or large.

The first two commands train the RQ-VAE of configs/own/rqvae.py and encode the
images with it:

  python -m rq_jax train \
      --config=configs/own/rqvae.py:64 --config.data.path=photos \
      --workdir=runs/mine/rqvae
  python -m rq_jax encode --tokenizer=runs/mine/rqvae --out=cache/mine
  python -m rq_jax train \
      --config=configs/own/rqtransformer.py:small \
      --config.tokenizer=runs/mine/rqvae --config.data.path=cache/mine \
      --workdir=runs/mine/rqtransformer

Nothing else needs to be set. The tokenizer decides the shape of the code maps,
the codebook size and the channels; the cache decides the number of classes. If
there are classes, a tenth of the labels is replaced by the null class, so that
guidance is possible. The temperature of the soft targets is measured.

| size | blocks | width | for |
|---|---|---|---|
| small | 4 + 2 | 128 | a CPU, a few hundred to ten thousand images |
| base | 12 + 4 | 512 | one GPU, ten thousand to a few hundred thousand |
| large | 24 + 4 | 1024 | several GPUs, a few hundred thousand to millions |

A run takes 20 epochs, but at least 1000 (small), 20000 (base) or 100000 (large)
steps. `--config.train.min_steps` and `--config.train.epochs` change this.
"""

from rq_jax import config as config_lib
from rq_jax.config import recipes

_MODELS = {
    'small': dict(width=128, heads=4, spatial_layers=4, depth_layers=2),
    'base': dict(width=512, heads=8, spatial_layers=12, depth_layers=4),
    'large': dict(width=1024, heads=16, spatial_layers=24, depth_layers=4),
}
_BATCHES = {'small': 32, 'base': 128, 'large': 512}
_LEARNING_RATES = {'small': 1.5e-3, 'base': 5e-4, 'large': 3e-4}
_LEAST_STEPS = {'small': 1000, 'base': 20_000, 'large': 100_000}


def get_config(size='small'):
  model = recipes.choose('size', size, _MODELS)
  config = config_lib.template(stage=2)
  config.data.update(
      source='features', image_size=None, batch_size=_BATCHES[size]
  )
  config.model.update(
      code_shape=None,
      codebook_size=None,
      embed_dim=None,
      num_classes=None,
      null_class=None,
      dropout=0.1,
      dtype='float32' if size == 'small' else 'bfloat16',
      **model,
  )
  config.loss.update(temperature='auto', label_dropout=None)
  config.optimizer.update(
      name='adamw',
      peak_lr=_LEARNING_RATES[size],
      betas=(0.9, 0.95),
      weight_decay=0.05,
      clip_norm=1.0,
      warmup_steps=_LEAST_STEPS[size] // 20,
      schedule='cosine',
      ema_decay=0.99 if size == 'small' else 0.999,
  )
  config.train.update(
      epochs=20.0,
      min_steps=_LEAST_STEPS[size],
      log_steps=20 if size == 'small' else 100,
      eval_steps=_LEAST_STEPS[size] // 4,
      checkpoint_steps=min(1000, _LEAST_STEPS[size] // 4),
  )
  return config
