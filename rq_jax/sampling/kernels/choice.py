"""Which kernels compute the steps of the decode loop, with which weights."""

from collections.abc import Sequence

from rq_jax.models import rqtransformer
from rq_jax.typing import Device

# 'xla': the kernels that XLA makes. 'pallas': those of this package, which need
# an NVIDIA GPU. 'interpret': the programs of these, run slowly by JAX on any
# device, to check them.
KINDS = ('xla', 'pallas', 'interpret')

# What holds the weights of the linear layers in the decode loop. 'float': the
# dtype of the computation. 'int8': one byte a weight, and a scale an output.
WEIGHTS = ('float', 'int8')

_SIDE = 16  # Of the smallest product that tensor cores compute.


def check_devices(kernels: str, devices: Sequence[Device]) -> None:
  """Raises a ValueError if the devices cannot use the kernels.

  Args:
    kernels: One of `KINDS`.
    devices: Devices that share a batch.
  """
  if kernels not in KINDS:
    raise ValueError(f'kernels={kernels} must be one of {", ".join(KINDS)}.')
  if kernels == 'xla':
    return
  if len(devices) > 1:
    raise ValueError(
        f'kernels={kernels} draws on one device, but there are {len(devices)}.'
        ' Use one device, or kernels=xla.'
    )
  platform = devices[0].platform
  client = getattr(devices[0], 'client', None)  # Described devices have none.
  if 'rocm' in getattr(client, 'platform_version', ''):
    platform = 'rocm'  # JAX calls GPUs of AMD 'gpu', too.
  if kernels == 'pallas' and platform not in ('gpu', 'cuda'):
    raise ValueError(
        'kernels=pallas needs an NVIDIA GPU, but the device is of the kind'
        f' {platform}. Use kernels=xla.'
    )


def check_weights(weights: str, kernels: str) -> None:
  """Raises a ValueError if kernels cannot read weights.

  Args:
    weights: One of `WEIGHTS`.
    kernels: One of `KINDS`.
  """
  if weights not in WEIGHTS:
    raise ValueError(f'weights={weights} must be one of {", ".join(WEIGHTS)}.')
  if weights == 'int8' and kernels != 'xla':
    raise ValueError(
        f'weights=int8 needs kernels=xla, but kernels={kernels}. Use one or the'
        ' other.'
    )


def check_model(kernels: str, prior: rqtransformer.RQTransformer) -> None:
  """Raises a ValueError if the kernels cannot compute a model.

  Args:
    kernels: One of `KINDS`.
    prior: The RQ-Transformer.
  """
  if kernels != 'pallas':
    return
  head = prior.width // prior.heads
  if head & (head - 1):
    raise ValueError(
        'kernels=pallas needs a power of two of channels per attention head,'
        f' but this model has {head}. Use kernels=xla.'
    )
  sizes = {
      'channels per attention head': head,
      'channels': prior.width,
      'codewords': max(prior.sizes),
  }
  for name, size in sizes.items():
    if size % _SIDE:
      raise ValueError(
          f'kernels=pallas needs a multiple of {_SIDE} {name}, but this model'
          f' has {size}. Use kernels=xla.'
      )
