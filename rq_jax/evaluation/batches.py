"""Runs a network on any number of rows, in batches that devices share."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from rq_jax.distributed import partitioning
from rq_jax.typing import Array, PyTree

# Rows of a batch on each device. Larger batches are not faster on CPUs, where
# the rows that fill up a batch take time.
_PER_CPU = 8
_PER_ACCELERATOR = 64
# `evaluate` passes 128 images at a time; many devices divide these.
_MOST = 128


def mesh_or_one_device(mesh: jax.sharding.Mesh | None) -> jax.sharding.Mesh:
  """The mesh, or one of the first device of this process if it is None."""
  return mesh or partitioning.make_mesh({}, devices=jax.local_devices()[:1])


def size(mesh: jax.sharding.Mesh) -> int:
  """Number of rows in each batch.

  These are 8 per CPU or 64 per accelerator, but not more than 128, or the next
  multiple of the number of devices.
  """
  cpu = mesh.devices.flat[0].platform == 'cpu'
  each = _PER_CPU if cpu else _PER_ACCELERATOR
  devices = partitioning.batch_parallelism(mesh)
  return min(each, -(-_MOST // devices)) * devices


def check_images(images: np.ndarray | jax.Array) -> np.ndarray:
  """Returns images on the host, unchanged: uint8[B, Y, X, 3].

  Raises:
    ValueError: If the images have another dtype or shape, or no pixels.
  """
  images = np.asarray(images)
  shaped = images.ndim == 4 and images.shape[3] == 3 and images.size
  if images.dtype != np.uint8 or not shaped:
    raise ValueError(
        f'The images are {images.dtype}{list(images.shape)}, but must be'
        ' uint8[B, Y, X, 3], with at least one image and at least one pixel.'
        ' Convert them.'
    )
  return images


def run(
    program: Callable[[jax.Array], PyTree],
    rows: Sequence[np.ndarray] | np.ndarray,
    mesh: jax.sharding.Mesh,
    *,
    prepare: Callable[..., Array] = np.asarray,
) -> PyTree:
  """Calls a program on batches of one size; the last is filled up with zeros.

  Args:
    program: Function from a batch, split over the mesh, to arrays with one row
      for each of its rows.
    rows: At least one row.
    mesh: Devices of this process that share the rows.
    prepare: Function that makes an array of some of the rows on the host,
      before the batch is filled up.

  Returns:
    The arrays of all rows, on the host.
  """
  at_once = size(mesh)
  sharding = partitioning.batch_sharding(mesh)
  results = []
  # The mesh of the caller, such as that of a training run, has other devices.
  with jax.set_mesh(mesh):
    for start in range(0, len(rows), at_once):
      batch = np.asarray(prepare(rows[start : start + at_once]))
      padding = [(0, at_once - len(batch))] + [(0, 0)] * (batch.ndim - 1)
      placed = jax.device_put(np.pad(batch, padding), sharding)
      found = jax.device_get(program(placed))
      results.append(_first(found, len(batch)))
  return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def _first(tree: PyTree, count: int) -> PyTree:
  return jax.tree.map(lambda array: array[:count], tree)
