"""Batches of a program, on one device and on several."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.evaluation import batches


def mesh_of(**shape):
  count = int(np.prod(list(shape.values())))
  return partitioning.make_mesh(shape, devices=jax.devices()[:count])


def recording(seen):
  """Twice the rows and their sums; keeps the batches."""

  def program(rows):
    seen.append(rows)
    return {'twice': 2 * rows, 'sum': jnp.sum(rows, axis=1)}

  return program


@pytest.mark.parametrize(
    ('mesh', 'size'),
    [
        (dict(data=1), 8),
        (dict(data=2), 16),
        (dict(data=2, fsdp=2), 32),
        (dict(data=2, model=2), 16),
    ],
    ids=str,
)
def test_a_batch_has_8_rows_per_cpu_that_it_is_split_over(mesh, size):
  assert batches.size(mesh_of(**mesh)) == size


@pytest.mark.parametrize(
    ('devices', 'size'), [(1, 64), (2, 128), (3, 129), (8, 128), (256, 256)]
)
def test_a_batch_has_64_rows_per_accelerator_up_to_128(devices, size):
  device = types.SimpleNamespace(platform='gpu')
  mesh = types.SimpleNamespace(
      devices=np.full((devices, 1), device),
      shape={'data': devices, 'fsdp': 1},
  )
  assert batches.size(mesh) == size


@pytest.mark.parametrize('count', [1, 16, 17, 33])
def test_all_batches_have_one_size_and_rows_their_order(count):
  rows = np.random.default_rng(count).normal(size=(count, 3))
  rows, seen = rows.astype(np.float32), []
  found = batches.run(recording(seen), rows, mesh_of(data=2))
  assert {batch.shape for batch in seen} == {(16, 3)}
  assert len(seen) == -(-count // 16)
  np.testing.assert_array_equal(found['twice'], 2 * rows)
  assert found['sum'].shape == (count,)
  assert all(isinstance(array, np.ndarray) for array in found.values())
  assert not np.any(np.concatenate(seen)[count:])


def test_devices_share_a_batch():
  mesh, seen = mesh_of(data=2), []
  batches.run(recording(seen), np.ones((3, 2), np.float32), mesh)
  assert seen[0].sharding == partitioning.batch_sharding(mesh)


def test_rows_of_a_batch_are_prepared_together():
  prepared = []

  def prepare(rows):
    prepared.append(len(rows))
    return np.stack([row[:2] for row in rows])

  rows = [np.full(2 + i % 3, i, np.uint8) for i in range(11)]
  found = batches.run(recording([]), rows, mesh_of(data=1), prepare=prepare)
  assert prepared == [8, 3]
  np.testing.assert_array_equal(found['twice'][:, 0], 2 * np.arange(11))
  assert found['twice'].dtype == np.uint8


def test_without_a_mesh_there_is_one_device():
  mesh = mesh_of(data=2)
  assert batches.mesh_or_one_device(mesh) is mesh
  one = batches.mesh_or_one_device(None)
  assert list(one.devices.flat) == jax.local_devices()[:1]


def test_one_device_is_enough_while_a_run_trains_on_more():
  rows = np.ones((3, 2), np.float32)
  one = mesh_of(data=1)
  weights = jax.device_put(rows[0], partitioning.replicated(one))
  program = jax.jit(lambda weights, rows: rows @ weights)
  with partitioning.activate(mesh_of(data=8)):
    found = batches.run(functools.partial(program, weights), rows, one)
  np.testing.assert_array_equal(found, [2, 2, 2])
