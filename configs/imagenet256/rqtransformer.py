r"""RQ-Transformers on ImageNet 256x256, by class: 480M to 3.8B parameters.

FID of 50000 images in the paper. The values in brackets are after rejection
sampling with an acceptance rate of 5 %.

  size   RQ-VAE of 10 epochs   RQ-VAE of 50 epochs
  480m   15.72
  821m   13.11
  1.4b   11.56 (4.45)          8.71 (3.89)
  3.8b                         7.55 (3.80)

After the RQ-VAE of configs/imagenet256/rqvae.py:

  python -m rq_jax encode \
      --tokenizer=runs/imagenet256/rqvae --out=cache/imagenet256
  python -m rq_jax train \
      --config=configs/imagenet256/rqtransformer.py:1.4b \
      --config.tokenizer=runs/imagenet256/rqvae \
      --config.data.path=cache/imagenet256 \
      --workdir=runs/imagenet256/rqtransformer_1.4b
  python -m rq_jax sample \
      --checkpoint=runs/imagenet256/rqtransformer_1.4b --num_images=50000 \
      --top_p=0.92 --out=samples/imagenet256

Approximate hours of training on one chip, at 40 % of its peak:

  size   10^9 operations per image   H100   A100   TPU v4
  480m                         364     33    100      120
  821m                         495     45    140      160
  1.4b                         780     70    220      250
  3.8b                        2068    190    590      670

The cache holds one view of each image, its center. With --views=8, `encode`
stores eight random crops of each training image. The authors crop and flip
again in every epoch. To do the same, encode the images in the training step:
--config.data.source=tfds --config.data.path=data/imagenet
--config.data.crop=random --config.data.flip=True. The published models have no
null class; for guidance, train with --config.model.null_class=True
--config.loss.label_dropout=0.1.

The parameters of the two larger models are split over all devices, and their
backward pass recomputes what is cheap. On TPUs, split them over groups of four:
--config.mesh.data=-1 --config.mesh.fsdp=4. By XLA's compiler, without a device,
a step of 2048 images then takes 27 GiB of each of 64 TPU v5p for 3.8b. One H200
takes 85 GiB for 3.8b with --config.train.accumulate=32.
"""

from rq_jax.config import recipes

SIZES = {
    '480m': dict(width=1536, heads=24, spatial_layers=12, depth_layers=4),
    '821m': dict(width=1536, heads=24, spatial_layers=24, depth_layers=4),
    '1.4b': dict(width=1536, heads=24, spatial_layers=42, depth_layers=6),
    '3.8b': dict(width=2560, heads=40, spatial_layers=42, depth_layers=6),
}


def get_config(size='1.4b'):
  config = recipes.rqtransformer()
  config.model.update(recipes.choose('size', size, SIZES), num_classes=1000)
  if size in ('1.4b', '3.8b'):
    config.model.remat = 'products'
    config.mesh.update(data=1, fsdp=-1)
  return config
