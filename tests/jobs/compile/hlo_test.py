"""Programs are read from their text."""

import pytest

from rq_jax.jobs.compile import execution
from rq_jax.jobs.compile import hlo
from tests.jobs.compile import programs_text


@pytest.fixture(scope='module')
def loop():
  return hlo.parse(programs_text.LOOP)


def test_computations_and_the_entry_are_found(loop):
  assert list(loop.computations) == [
      'fused_product',
      'fused_write',
      'fused_read',
      'body',
      'condition',
      'main',
  ]
  assert loop.entry.name == 'main'
  assert loop.devices == 1


def test_an_instruction_has_its_operands_and_attributes(loop):
  product = loop.computations['body'].instructions['product.1']
  assert product.opcode == 'fusion'
  assert product.operands == ('x.1', 'w.1', 'b.1')
  assert product.called == ('fused_product',)
  assert product.op_name == 'jit(f)/while/body/mlp_in/add'
  assert product.attribute('kind') == 'kOutput'
  assert product.attribute('calls') == '%fused_product'
  assert product.attribute('channel_id') == ''
  assert not product.is_root
  dot = loop.computations['fused_product'].instructions['dot.1']
  assert dot.numbers('lhs_contracting_dims') == (1,)
  write = loop.computations['fused_write'].root
  assert write.operands == ('p.0', 'view.1', 'p.2', 'zero.1', 'zero.1')


def test_a_computation_knows_its_parameters_root_and_users(loop):
  write = loop.computations['fused_write']
  assert [p.name for p in write.parameters] == ['p.0', 'p.1', 'p.2']
  assert write.root.name == 'write.1'
  assert [user.name for user in write.users['p.1']] == ['view.1']
  assert [one.name for one in write.operands(write.root)][:2] == [
      'p.0',
      'view.1',
  ]
  numbers = loop.computations['condition'].instructions['limit.2']
  assert (numbers.opcode, numbers.number) == ('constant', 5)


@pytest.mark.parametrize(
    ('text', 'dtype', 'dims', 'layout', 'space', 'size'),
    [
        ('f32[2,3]{1,0}', 'f32', (2, 3), (1, 0), 0, 24),
        ('s32[]', 's32', (), (), 0, 4),
        ('bf16[8,128]{0,1:T(8,128)(2,1)S(1)}', 'bf16', (8, 128), (0, 1), 1,
         2048),
        ('pred[7]{0}', 'pred', (7,), (0,), 0, 7),
        ('s4[6]{0}', 's4', (6,), (0,), 0, 3),
        ('u4[4]{0}', 'u4', (4,), (0,), 0, 2),
        ('c64[3]{0}', 'c64', (3,), (0,), 0, 24),
        ('c128[3]{0}', 'c128', (3,), (0,), 0, 48),
        ('f8e4m3fn[5]{0}', 'f8e4m3fn', (5,), (0,), 0, 5),
        ('token[]', 'token', (), (), 0, 0),
        ('opaque[]', 'opaque', (), (), 0, 0),
        ('u64[2,2]{1,0:T(4,128)}', 'u64', (2, 2), (1, 0), 0, 32),
    ],
)  # fmt: skip
def test_shapes_have_types_sizes_layouts_and_spaces(
    text, dtype, dims, layout, space, size
):
  (shape,) = hlo.shapes(text)
  assert shape == hlo.Shape(dtype, dims, layout, space)
  assert shape.bytes == size


def test_tuples_have_all_their_arrays():
  found = hlo.shapes(
      '(f32[2]{0}, (s32[], /*index=2*/bf16[4,4]{1,0:T(8,128)}), u32[]{:S(2)})'
  )
  assert list(map(str, found)) == ['f32[2]', 's32[]', 'bf16[4,4]', 'u32[]']
  assert found[-1].space == 2


def test_a_quoted_text_may_hold_brackets_and_commas():
  module = hlo.parse(programs_text.program(r"""
          %x = f32[8]{0} parameter(0)
          ROOT %c = f32[8]{0} custom-call(%x), custom_call_target="__f$g", \
metadata={op_name="a[\'b\']/c,(d"}, backend_config={"e":"}{,"}, kind=k
          """.replace('\\\n', '')))
  call = module.entry.root
  assert call.target == '__f$g'
  assert call.op_name == r'a[\'b\']/c,(d'
  assert call.attribute('kind') == 'k'


def test_a_text_without_an_entry_is_refused():
  with pytest.raises(ValueError, match='no entry'):
    hlo.parse('ModuleOp')


def test_the_body_of_a_loop_runs_as_often_as_its_condition_allows(loop):
  found = {
      each.instruction.name: (each.times, each.loop)
      for each in execution.executed(loop)
  }
  assert found['cache'] == (1, '')
  assert found['product.1'] == (5, 'loop')
  assert found['less.2'] == (5, 'loop')
  assert 'dot.1' not in found  # It is inside of a fusion.
  assert not execution.unknown_loops(loop)


def test_a_start_above_zero_shortens_the_loop():
  text = programs_text.LOOP.replace('%zero = s32[] constant(0)',
                                    '%zero = s32[] constant(2)')  # fmt: skip
  times = {
      each.instruction.name: each.times
      for each in execution.executed(hlo.parse(text))
  }
  assert times['product.1'] == 3


def test_a_written_number_of_passes_needs_no_condition():
  text = programs_text.LOOP.replace(
      'body=%body,',
      'body=%body, backend_config={"known_trip_count":{"n":"64"}},',
  )
  found = {
      each.instruction.name: each.times
      for each in execution.executed(hlo.parse(text))
  }
  assert found['product.1'] == 64
  assert 'less.2' not in found  # No kernel evaluates it.


def test_an_unknown_number_of_passes_counts_once():
  module = hlo.parse(programs_text.LOOP.replace('direction=LT', 'direction=NE'))
  times = {e.instruction.name: e.times for e in execution.executed(module)}
  assert times['product.1'] == 1
  assert execution.unknown_loops(module) == ['loop']


def test_calls_are_followed_and_the_longest_branch_counts():
  branches = """\
%short (p: f32[8]) -> f32[8] {
  ROOT %p = f32[8]{0} parameter(0)
}

%long (q: f32[8]) -> f32[8] {
  %q = f32[8]{0} parameter(0)
  ROOT %n = f32[8]{0} negate(%q)
}

%called (r: f32[8]) -> f32[8] {
  %r = f32[8]{0} parameter(0)
  ROOT %e = f32[8]{0} exponential(%r)
}

"""
  module = hlo.parse(
      programs_text.program(
          """
          %x = f32[8]{0} parameter(0)
          %which = s32[] constant(0)
          %c = f32[8]{0} conditional(%which, %x, %x), \
branch_computations={%short, %long}
          ROOT %y = f32[8]{0} call(%c), to_apply=%called
          """.replace('\\\n', ''),
          before=branches,
      )
  )
  names = [each.instruction.name for each in execution.executed(module)]
  assert names == ['x', 'which', 'c', 'q', 'n', 'y', 'r', 'e']
