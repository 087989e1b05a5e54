from rq_jax import config as config_lib

_SIZES = {
    '32': dict(
        channels=16,
        channel_multipliers=(1, 2, 4, 4),
        res_blocks=(0, 0, 1, 1),
        code_shape=(4, 4, 4),
        codebook_size=256,
        z_channels=64,
        embed_dim=64,
    ),
    '64': dict(
        channels=16,
        channel_multipliers=(1, 2, 4, 4),
        res_blocks=(0, 0, 1, 1),
        code_shape=(8, 8, 4),
        codebook_size=256,
        z_channels=64,
        embed_dim=64,
    ),
    '64b': dict(
        channels=8,
        channel_multipliers=(1, 4, 8, 8),
        res_blocks=(0, 0, 1, 1),
        code_shape=(8, 8, 4),
        codebook_size=256,
        z_channels=64,
        embed_dim=64,
    ),
}


def get_config(size='64'):
  config = config_lib.template(stage=1)
  side = int(size[:2])
  config.data.update(source='image_folder', image_size=side, batch_size=32)
  config.model.update(
      image_size=side,
      attention_resolutions=(),
      decay=0.95,
      norm_groups=4,
      **_SIZES[size],
  )
  config.optimizer.update(
      name='adam', peak_lr=2e-3, betas=(0.9, 0.99), schedule='cosine'
  )
  config.train.update(
      steps=600, log_steps=25, eval_steps=100, checkpoint_steps=500
  )
  return config
