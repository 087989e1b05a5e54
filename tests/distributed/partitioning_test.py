"""Meshes, and which arrays are split along which of their axes."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import optax
import pytest

from rq_jax.distributed import partitioning


def _mesh(data, fsdp, model):
  return partitioning.make_mesh(dict(data=data, fsdp=fsdp, model=model))


def _boxed(shape, axes):
  return nn.LogicallyPartitioned(jax.ShapeDtypeStruct(shape, np.float32), axes)


def _spec(shape, axes, mesh):
  placed = partitioning.state_sharding({'p': _boxed(shape, axes)}, mesh)
  return placed['p'].spec


@pytest.mark.parametrize(
    ('shape', 'sizes'),
    [
        (dict(data=-1), (8, 1, 1)),
        (dict(data=-1, fsdp=4), (2, 4, 1)),
        (dict(data=2, fsdp=-1, model=2), (2, 2, 2)),
        (dict(data=1, fsdp=1, model=-1), (1, 1, 8)),
        (dict(fsdp=8), (1, 8, 1)),
        (dict(data=-1, fsdp=8), (1, 8, 1)),
        (dict(data=2, fsdp=2, model=2), (2, 2, 2)),
    ],
)
def test_one_axis_of_a_mesh_takes_the_devices_that_remain(shape, sizes):
  mesh = partitioning.make_mesh(shape)
  assert tuple(mesh.shape.items()) == tuple(
      zip(('data', 'fsdp', 'model'), sizes)
  )
  assert sorted(d.id for d in mesh.devices.flat) == list(range(8))


def test_a_mesh_may_take_some_of_the_devices():
  mesh = partitioning.make_mesh(dict(data=-1), devices=jax.devices()[2:4])
  assert [d.id for d in mesh.devices.flat] == [2, 3]


@pytest.mark.parametrize(
    ('shape', 'needed'),
    [
        (dict(data=3), 3),
        (dict(data=2, fsdp=2), 4),
        (dict(data=16), 16),
        (dict(data=-1, fsdp=3), 6),
        (dict(data=-1, fsdp=16), 16),
    ],
)
def test_a_mesh_of_another_number_of_devices_is_refused(shape, needed):
  with pytest.raises(ValueError, match='config.mesh.data.* to -1') as error:
    partitioning.make_mesh(shape)
  assert f'{shape} needs {needed} devices, but there are 8' in str(error.value)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        (dict(data=-1, model=0), r'has an axis of 0\. Each must be positive'),
        (dict(data=0), 'has an axis of 0'),
        (dict(data=8, fsdp=-2), r'has an axis of -2\. Each must be positive'),
        (dict(data=-1, fsdp=-1), 'has more than one -1'),
    ],
)
def test_an_axis_is_positive_or_the_only_one_that_takes_the_rest(
    shape, message
):
  for make in (
      partitioning.make_mesh,
      lambda shape: partitioning.abstract_mesh(shape, 8),
  ):
    with pytest.raises(ValueError, match=message):
      make(shape)


def test_an_abstract_mesh_is_that_of_as_many_devices():
  shape = dict(data=-1, fsdp=2)
  there = partitioning.make_mesh(shape).abstract_mesh
  planned = partitioning.abstract_mesh(shape, 8)
  assert planned.shape_tuple == there.shape_tuple
  assert planned.axis_types == there.axis_types
  more = partitioning.abstract_mesh(shape, 256)
  assert dict(more.shape) == {'data': 128, 'fsdp': 2, 'model': 1}


def test_only_data_parallelism_crosses_slices(monkeypatch):
  shape = dict(data=-1, fsdp=2, slices=2)
  # Devices without slices are divided in their order.
  mesh = partitioning.make_mesh(shape)
  assert mesh.shape == dict(data=4, fsdp=2, model=1)
  assert [d.id for d in mesh.devices[:2].flat] == [0, 1, 2, 3]
  # Here, the slices have every second device.
  monkeypatch.setattr(partitioning, '_slice', lambda device: device.id % 2)
  devices = partitioning.make_mesh(shape).devices
  assert {d.id for d in devices[:2].flat} == {0, 2, 4, 6}
  assert {d.id for d in devices[2:].flat} == {1, 3, 5, 7}
  planned = partitioning.abstract_mesh(shape, 8)
  assert dict(planned.shape) == dict(data=4, fsdp=2, model=1)


@pytest.mark.parametrize('slices', [0, 3, 8])
def test_slices_divide_the_axis_data(slices):
  shape = dict(data=4, fsdp=2, slices=slices)
  with pytest.raises(ValueError, match=f'has {slices} slices, which do not'):
    partitioning.make_mesh(shape)


def test_slices_are_those_of_the_tpus():
  devices = [
      types.SimpleNamespace(platform='tpu', slice_index=i // 4)
      for i in range(8)
  ]
  for slices in (1, 4):
    with pytest.raises(ValueError, match='Set --config.mesh.slices=2'):
      partitioning.make_mesh(dict(data=8, slices=slices), devices=devices)


def test_an_unknown_mesh_axis_is_named():
  with pytest.raises(ValueError, match=r"\['fdsp'\].*\('data', 'fsdp', 'mod"):
    partitioning.make_mesh(dict(data=-1, fdsp=2))


@pytest.mark.parametrize(
    ('axes', 'shape', 'spec'),
    [
        (('embed', 'mlp'), (8, 16), ('fsdp', 'model')),
        (('layers', 'embed', 'mlp'), (2, 8, 16), (None, 'fsdp', 'model')),
        (
            ('embed', None, 'heads', None),
            (8, 3, 4, 2),
            ('fsdp', None, 'model', None),
        ),
        (('vocab', 'embed'), (16, 8), ('model', 'fsdp')),
        (('code', 'embed'), (4, 8), (None, 'fsdp')),
        (
            (None, None, 'conv_in', 'conv_out'),
            (4, 4, 4, 4),
            (None, None, 'fsdp', 'model'),
        ),
        (
            ('batch', 'position', 'activation'),
            (8, 4, 4),
            (('data', 'fsdp'), None, None),
        ),
    ],
)
def test_the_table_gives_every_logical_axis_its_mesh_axis(axes, shape, spec):
  assert _spec(shape, axes, _mesh(2, 2, 2)) == PartitionSpec(*spec)


def test_a_dimension_that_its_mesh_axis_does_not_divide_stays_whole():
  mesh = _mesh(2, 2, 2)
  assert _spec((3, 16), ('embed', 'mlp'), mesh) == PartitionSpec(None, 'model')
  assert _spec((8, 5), ('embed', 'mlp'), mesh) == PartitionSpec('fsdp', None)
  # This batch is a multiple of two devices, but not of the four of both axes.
  assert _spec((6, 4), ('batch', None), mesh) == PartitionSpec(None, None)


def test_an_axis_that_the_table_does_not_know_is_refused():
  with pytest.raises(ValueError, match="'wdith'"):
    _spec((8, 16), ('wdith', 'mlp'), _mesh(2, 2, 2))


def test_leaves_without_logical_axes_are_replicated():
  tree = {'step': jax.ShapeDtypeStruct((), np.int32), 'none': None}
  placed = partitioning.state_sharding(tree, _mesh(2, 2, 2))
  assert placed['step'].spec == PartitionSpec()
  assert placed['none'] is None


def test_moments_of_the_optimizer_are_placed_as_their_parameters():
  params = {'kernel': _boxed((8, 16), ('embed', 'mlp'))}
  state = jax.eval_shape(optax.adam(1e-3).init, params)
  placed = partitioning.state_sharding(state, _mesh(2, 2, 2))
  spec = PartitionSpec('fsdp', 'model')
  assert placed[0].mu['kernel'].spec == spec
  assert placed[0].nu['kernel'].spec == spec
  assert placed[0].count.spec == PartitionSpec()


def test_unboxing_leaves_plain_shapes_and_arrays():
  tree = {'a': _boxed((2, 3), ('embed', 'mlp')), 'b': np.ones(2), 'c': None}
  plain = partitioning.unbox(tree)
  assert plain['a'] == jax.ShapeDtypeStruct((2, 3), np.float32)
  assert plain['b'] is tree['b'] and plain['c'] is None


def test_an_active_mesh_gives_logical_constraints_their_meaning():
  mesh = _mesh(2, 2, 2)

  def constrain(x):
    return nn.with_logical_constraint(x, ('batch', 'mlp'))

  with partitioning.activate(mesh):
    placed = jax.jit(constrain)(jnp.ones((8, 4)))
  spec = PartitionSpec(('data', 'fsdp'), 'model')
  expected = jax.sharding.NamedSharding(mesh, spec)
  assert placed.sharding.is_equivalent_to(expected, 2)
  assert nn.get_logical_axis_rules() == ()


def test_a_batch_becomes_global_arrays_over_the_data_axes():
  mesh = _mesh(2, 2, 2)
  batch = {
      'image': np.arange(24, dtype=np.float32).reshape(8, 3),
      'label': list(range(8)),
  }
  placed = partitioning.global_batch(batch, mesh)
  assert set(placed) == {'image', 'label'}
  for name, array in placed.items():
    assert array.sharding == partitioning.batch_sharding(mesh)
    np.testing.assert_array_equal(array, batch[name])
    # Four parts of the batch, on two devices each.
    rows = [shard.data.shape[0] for shard in array.addressable_shards]
    assert rows == [2] * 8
  starts = {s.index[0].start or 0 for s in array.addressable_shards}
  assert starts == {0, 2, 4, 6}


def test_what_is_replicated_is_whole_on_every_device():
  array = jax.device_put(np.ones(8), partitioning.replicated(_mesh(2, 2, 2)))
  assert [s.data.shape for s in array.addressable_shards] == [(8,)] * 8


def test_a_batch_that_cannot_be_split_evenly_is_refused():
  mesh = _mesh(2, 2, 2)
  assert partitioning.batch_parallelism(mesh) == 4
  partitioning.check_batch(12, mesh)
  with pytest.raises(ValueError, match='batch_size=10 must be a multiple of 4'):
    partitioning.check_batch(10, mesh)


def test_each_piece_of_a_batch_is_split_evenly():
  mesh = _mesh(2, 2, 2)
  partitioning.check_batch(24, mesh, pieces=3)
  with pytest.raises(ValueError) as error:
    partitioning.check_batch(12, mesh, pieces=2)
  assert str(error.value) == (
      'config.data.batch_size=12 must be a multiple of 4, the number of devices'
      ' along the mesh axes data and fsdp times config.train.accumulate=2.'
      ' Change --config.data.batch_size or --config.train.accumulate.'
  )
