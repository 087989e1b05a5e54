"""How many images fit at a time, estimated before any memory is taken."""

import bisect
import math
import pathlib

import jax
import jax.numpy as jnp

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import partitioning
from rq_jax.models import rqtransformer
from rq_jax.models import rqvae

_GIB = 2**30
# Arrays of a width, and of the codebook's size, that live at a time in a step.
_WIDTHS = 16
_LOGITS = 5


def check_fits(
    prior: rqtransformer.RQTransformer,
    decoder: rqvae.RQVAE,
    batch: int,
    *,
    guided: bool,
    mesh: jax.sharding.Mesh | None,
) -> None:
  """Raises a ValueError if a batch needs more memory than a device has left.

  Args:
    prior: The RQ-Transformer.
    decoder: The RQ-VAE that decodes its codes.
    batch: Images on all devices together, B.
    guided: Whether each is computed with the null class, too.
    mesh: The devices; one if None.
  """
  devices = jax.local_devices()[:1] if mesh is None else mesh.local_devices
  left = free_bytes(devices[0])
  if left is None:
    return
  split, heads = 1, 1
  if mesh is not None:
    split = partitioning.batch_parallelism(mesh)
    heads = mesh.shape['model'] if prior.heads % mesh.shape['model'] == 0 else 1
  image = image_bytes(
      prior,
      decoder,
      guided=guided,
      platform=devices[0].platform,
      split_heads=heads,
  )

  def needed(count):
    return count * image + tokenizer_lib.decoding_bytes(decoder, count)

  counts = range(1, left // image + 1)
  most = bisect.bisect_right(counts, left, key=needed) * split
  if batch > most:
    gib = needed(math.ceil(batch / split)) / _GIB
    raise ValueError(
        f'{batch} images at a time need about {gib:.1f} GiB of memory beside'
        f' the weights, but {left / _GIB:.1f} GiB are left on a device:'
        f' at most {most} fit. Draw fewer at a time, or many in chunks, as'
        ' python -m rq_jax sample --chunk_size does.'
    )


def image_bytes(
    prior: rqtransformer.RQTransformer,
    decoder: rqvae.RQVAE,
    *,
    guided: bool,
    platform: str,
    split_heads: int = 1,
) -> int:
  """Bytes that each image of a batch takes while it is drawn and kept.

  Args:
    prior: The RQ-Transformer.
    decoder: The RQ-VAE.
    guided: Whether each is computed with the null class, too.
    platform: Of the devices.
    split_heads: Devices that share the attention heads of an image.
  """
  rows = 2 if guided else 1
  size = jnp.dtype(prior.dtype).itemsize
  if platform == 'cpu':
    size = max(size, 4)  # Where 16 bit are computed, and held, in 32.
  length = prior.condition_length - 1 + prior.positions
  cached = prior.spatial_layers * length + prior.depth_layers * prior.depth
  caches = 2 * cached * prior.width * size / split_heads
  widths = _WIDTHS * prior.width * size * prior.condition_length
  logits = _LOGITS * max(prior.sizes) * 4
  codes = prior.positions * prior.depth * 16
  pixels = decoder.image_size**2 * 3
  return math.ceil(rows * (caches + widths + logits)) + codes + pixels


def free_bytes(device: jax.Device) -> int | None:
  """Bytes that are left on a device, or None where that is unknown."""
  stats = device.memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit'] - stats['bytes_in_use']
  if device.platform != 'cpu':
    return None
  table = pathlib.Path('/proc/meminfo')
  if not table.exists():
    return None
  for line in table.read_text().splitlines():
    name, _, rest = line.partition(':')
    if name == 'MemAvailable':
      return int(rest.split()[0]) * 1024 // _sharing(device)
  return None


def _sharing(device: jax.Device) -> int:
  """Simulated devices of the process: they share the memory of the machine."""
  return sum(d.platform == device.platform for d in jax.local_devices())
