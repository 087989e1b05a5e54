"""Collectives with their bytes and mesh axes."""

import pytest

from rq_jax.jobs.compile import collectives
from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import mending
from tests.jobs.compile import programs_text

MESH = {'data': 2, 'fsdp': 4, 'model': 1}
OPERANDS = """
    %x = f32[25,8]{1,0} parameter(0)
    %h = bf16[100,8]{1,0} parameter(1)
    """


def found(line, mesh=MESH, devices=8):
  text = programs_text.program(f'{OPERANDS}\n{line}', devices=devices)
  return list(collectives.find(hlo.parse(text), mesh))


@pytest.mark.parametrize(
    ('groups', 'axes', 'devices'),
    [
        ('{{0,1,2,3},{4,5,6,7}}', 'fsdp', 4),
        ('{{0,4},{1,5},{2,6},{3,7}}', 'data', 2),
        ('{{0,1,2,3,4,5,6,7}}', 'data+fsdp', 8),
        ('{}', 'data+fsdp', 8),
        ('[2,4]<=[8]', 'fsdp', 4),
        ('[4,2]<=[2,4]T(1,0)', 'data', 2),
        ("mesh['a'=2,'b'=4,'c'=1] {'b'}", 'fsdp', 4),
        ("mesh['a'=2,'b'=4,'c'=1] {'a'}", 'data', 2),
        ("mesh['a'=2,'b'=4,'c'=1] {'a','b'}", 'data+fsdp', 8),
        ("mesh['a'=8,'b'=1] {'a','b'}", 'data+fsdp', 8),
    ],
)
def test_groups_of_devices_are_mesh_axes(groups, axes, devices):
  (one,) = found(
      'ROOT %r = f32[100,8]{1,0} all-gather(%x), channel_id=1,'
      f' replica_groups={groups}, dimensions={{0}}, use_global_device_ids=true'
  )
  assert one.axes == axes
  assert one.counted.devices == devices
  assert one.counted.bytes == 800 * devices


@pytest.mark.parametrize(
    ('line', 'kind', 'size', 'dtype', 'shapes'),
    [
        (
            'ROOT %r = bf16[100,8]{1,0} all-reduce(%h), replica_groups={},'
            ' to_apply=%add',
            'all-reduce',
            1600,
            'bf16',
            ['bf16[100,8]'],
        ),
        (
            'ROOT %r = f32[25,8]{1,0} reduce-scatter(%x), replica_groups={}',
            'reduce-scatter',
            800,
            'f32',
            ['f32[25,8]'],
        ),
        # Both halves, with the operand in the result of the first.
        (
            '%s = (f32[25,8]{1,0}, f32[200,8]{1,0}) all-gather-start(%x),'
            ' replica_groups={}\n'
            'ROOT %r = f32[200,8]{1,0} all-gather-done(%s)',
            'all-gather',
            6400,
            'f32',
            ['f32[200,8]'],
        ),
        # Several arrays at once.
        (
            '%s = (f32[25,8]{1,0}, bf16[100,8]{1,0}) all-reduce-start(%x, %h),'
            ' replica_groups={}, to_apply=%add\n'
            'ROOT %r = (f32[25,8]{1,0}, bf16[100,8]{1,0}) all-reduce-done(%s)',
            'all-reduce',
            2400,
            'bf16',
            ['f32[25,8]', 'bf16[100,8]'],
        ),
    ],
)
def test_each_collective_counts_once(line, kind, size, dtype, shapes):
  (one,) = found(line)
  assert one.counted.kind == kind
  assert one.counted.bytes == size
  assert one.dtype == dtype
  assert list(map(str, one.shapes)) == shapes


def test_a_permutation_has_the_axis_of_its_pairs():
  (one,) = found(
      'ROOT %r = f32[25,8]{1,0} collective-permute(%x),'
      ' source_target_pairs={{0,1},{1,0},{2,2},{3,3}}'
  )
  assert one.counted.kind == 'collective-permute'
  assert (one.axes, one.counted.devices) == ('fsdp', 2)


def findings(line, *, parameters=(), dtype='float32'):
  return mending.find((), found(line), dtype=dtype, parameters=list(parameters))


def test_a_gathered_parameter_is_expected_and_an_activation_is_not():
  line = 'ROOT %r = f32[200,8]{1,0} all-gather(%x), replica_groups={}'
  assert not findings(line, parameters=[(8, 200)])  # In any layout,
  assert not findings(line, parameters=[(42, 200, 8)])  # or of one layer.
  (one,) = findings(line, parameters=[(100, 8)])
  assert one.what == (
      'An array that is no parameter is gathered on every device. Axis:'
      ' data+fsdp.'
  )
  assert (one.shape, one.count, one.bytes) == ('f32[200,8]', 1, 6400)


def test_resharding_and_sums_in_bfloat16_are_found():
  (moved,) = findings('ROOT %r = f32[25,8]{1,0} all-to-all(%x)')
  assert 'moves an array between devices' in moved.what
  line = 'ROOT %r = bf16[100,8]{1,0} all-reduce(%h), to_apply=%add'
  (added,) = findings(line)
  assert added.what.startswith('Devices add up gradients in bfloat16.')
  assert not findings(line.replace('(%h)', '(%x)').replace('bf16', 'f32'))
