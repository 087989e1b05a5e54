"""The flags of a tiny RQ-VAE, for tests that start the command `train`."""

FLAGS = (
    '--config=configs/digits/rqvae.py',
    '--config.data.image_size=16',
    '--config.data.batch_size=8',
    '--config.model.image_size=16',
    '--config.model.channel_multipliers=(1,)',
    '--config.model.res_blocks=0',
    '--config.model.code_shape=(16,16,2)',
    '--config.model.codebook_size=8',
    '--config.train.log_steps=1',
    '--config.train.eval_steps=10000',
    '--config.train.checkpoint_steps=10000',
)
