"""Which kernels compute the steps of the decode loop."""

import jax

from rq_jax.models import rqtransformer

# 'xla': the kernels that XLA makes. 'pallas': those of this package, which need
# an NVIDIA GPU. 'interpret': the programs of these, run slowly by JAX on any
# device, to check them.
KINDS = ('xla', 'pallas', 'interpret')

_SIDE = 16  # Of the smallest product that tensor cores compute.


def check_devices(kernels: str, mesh: jax.sharding.Mesh | None) -> None:
  """Raises a ValueError if the devices cannot use the kernels.

  Args:
    kernels: One of `KINDS`.
    mesh: Devices that share a batch; the first device if None.
  """
  if kernels not in KINDS:
    raise ValueError(f'kernels={kernels} must be one of {", ".join(KINDS)}.')
  if kernels == 'xla':
    return
  if mesh is not None and mesh.size > 1:
    raise ValueError(
        f'kernels={kernels} draws on one device, but there are {mesh.size}. Use'
        ' one device, or kernels=xla.'
    )
  device = jax.local_devices()[0] if mesh is None else mesh.devices.flat[0]
  if kernels == 'pallas' and device.platform != 'gpu':
    raise ValueError(
        'kernels=pallas needs an NVIDIA GPU, but JAX draws on a device of the'
        f' kind {device.platform}. Use kernels=xla.'
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
