"""Estimates how many images fit in memory, before any memory is taken."""

import bisect
import math
import pathlib

import jax
import jax.numpy as jnp

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import sizes
from rq_jax.distributed import partitioning
from rq_jax.models import rqtransformer
from rq_jax.models import rqvae
from rq_jax.typing import Device

_GIB = 2**30
# Arrays of width E, and of size K, that are in memory at once during a step.
_WIDTHS = 16
_LOGITS = 5


def check_fits(
    prior: rqtransformer.RQTransformer,
    decoder: rqvae.RQVAE,
    batch: int,
    *,
    guided: bool,
    mesh: jax.sharding.Mesh | None,
    reserved: int,
) -> None:
  """Raises a ValueError if a batch needs more memory than a device has left.

  Args:
    prior: The RQ-Transformer.
    decoder: The RQ-VAE that decodes the codes.
    batch: Images on all devices together, B.
    guided: Whether each image is also computed with the null class.
    mesh: The devices; one if None.
    reserved: Bytes of each device that drawing takes before the first batch.
  """
  devices = jax.local_devices()[:1] if mesh is None else mesh.local_devices
  left = free_bytes(devices[0])
  if left is None:
    return
  left = max(0, left - reserved)
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
        f'{batch} images at a time need about {gib:.1f} GiB of memory in'
        f' addition to the weights, which leave {left / _GIB:.1f} GiB on a'
        f' device: at most {most} fit. Draw fewer images per call, or draw them'
        ' in chunks with python -m rq_jax sample --chunk_size.'
    )


def image_bytes(
    prior: rqtransformer.RQTransformer,
    decoder: rqvae.RQVAE,
    *,
    guided: bool,
    platform: str,
    split_heads: int = 1,
) -> int:
  """Memory in bytes that each image of a batch needs while it is drawn.

  Args:
    prior: The RQ-Transformer.
    decoder: The RQ-VAE.
    guided: Whether each image is also computed with the null class.
    platform: Platform of the devices, such as 'gpu'.
    split_heads: Devices that share the attention heads of an image.
  """
  rows = 2 if guided else 1
  size = jnp.dtype(prior.dtype).itemsize
  if platform == 'cpu':
    size = max(size, 4)  # CPUs compute bfloat16 in float32, and store it so.
  length = prior.condition_length - 1 + prior.positions
  cached = prior.spatial_layers * length + prior.depth_layers * prior.depth
  caches = 2 * cached * prior.width * size / split_heads
  widths = _WIDTHS * prior.width * size * prior.condition_length
  logits = _LOGITS * max(prior.sizes) * 4
  codes = prior.positions * prior.depth * 16
  pixels = math.prod(sizes.pair(decoder.image_size)) * 3
  return math.ceil(rows * (caches + widths + logits)) + codes + pixels


def free_bytes(device: Device) -> int | None:
  """Free memory of a device in bytes, or None if it is unknown."""
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


def _sharing(device: Device) -> int:
  """Number of simulated devices, which share the memory of the machine."""
  return sum(d.platform == device.platform for d in jax.local_devices())
