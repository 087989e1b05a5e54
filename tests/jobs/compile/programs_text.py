"""Small programs as text, in the forms of the compilers."""

from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import kinds

# A loop of 5 passes: a product with a bias, a write into a cache in place, and
# a read of 2 of its rows. Arrays of a hundred numbers are easy to count.
LOOP = """\
HloModule jit_step, is_scheduled=true, entry_computation_layout={()->s32[]}

%fused_product (p.0: f32[10,20], p.1: f32[20,10], p.2: f32[10]) -> f32[10,10] {
  %p.0 = f32[10,20]{1,0} parameter(0)
  %p.1 = f32[20,10]{1,0} parameter(1)
  %p.2 = f32[10]{0} parameter(2)
  %dot.1 = f32[10,10]{1,0} dot(%p.0, %p.1), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}, metadata={op_name="jit(f)/mlp_in/dot_general"}
  %bias.1 = f32[10,10]{1,0} broadcast(%p.2), dimensions={1}
  ROOT %add.1 = f32[10,10]{1,0} add(%dot.1, %bias.1), metadata={op_name="a(b)"}
}

%fused_write (p.0: f32[7,10,10], p.1: f32[10,10], p.2: s32[]) -> f32[7,10,10] {
  %p.0 = f32[7,10,10]{2,1,0} parameter(0)
  %p.1 = f32[10,10]{1,0} parameter(1)
  %view.1 = f32[1,10,10]{2,1,0} bitcast(%p.1)
  %p.2 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %write.1 = f32[7,10,10]{2,1,0} dynamic-update-slice(%p.0, %view.1, \
%p.2, %zero.1, /*index=4*/%zero.1)
}

%fused_read (p.0: f32[7,10,10], p.1: s32[2]) -> f32[2,10,10] {
  %p.0 = f32[7,10,10]{2,1,0} parameter(0)
  %p.1 = s32[2]{0} parameter(1)
  %rows.1 = f32[2,10,10]{2,1,0} gather(%p.0, %p.1), offset_dims={1,2}
  ROOT %half.1 = f32[2,10,10]{2,1,0} multiply(%rows.1, %rows.1)
}

%body (carried: (s32[], f32[10,20], f32[7,10,10])) -> \
(s32[], f32[10,20], f32[7,10,10]) {
  %carried = (s32[], f32[10,20]{1,0}, f32[7,10,10]{2,1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%carried), index=0
  %x.1 = f32[10,20]{1,0} get-tuple-element(%carried), index=1
  %cache.1 = f32[7,10,10]{2,1,0} get-tuple-element(%carried), index=2
  %one.1 = s32[] constant(1)
  %w.1 = f32[20,10]{1,0} constant({...})
  %b.1 = f32[10]{0} constant({...})
  %next.1 = s32[] add(%i.1, %one.1)
  %product.1 = f32[10,10]{1,0} fusion(%x.1, %w.1, %b.1), kind=kOutput, \
calls=%fused_product, metadata={op_name="jit(f)/while/body/mlp_in/add"}
  %written.1 = f32[7,10,10]{2,1,0} fusion(%cache.1, %product.1, %i.1), \
kind=kLoop, calls=%fused_write, metadata={op_name="jit(f)/while/body/write"}
  %places.1 = s32[2]{0} constant({0, 3})
  %read.1 = f32[2,10,10]{2,1,0} fusion(%written.1, %places.1), kind=kLoop, \
calls=%fused_read, metadata={op_name="jit(f)/while/body/norm1/mul"}
  %kept.1 = f32[7,10,10]{2,1,0} copy(%written.1)
  ROOT %out.1 = (s32[], f32[10,20]{1,0}, f32[7,10,10]{2,1,0}) tuple(%next.1, \
%x.1, %kept.1)
}

%condition (carried: (s32[], f32[10,20], f32[7,10,10])) -> pred[] {
  %carried.2 = (s32[], f32[10,20]{1,0}, f32[7,10,10]{2,1,0}) parameter(0)
  %i.2 = s32[] get-tuple-element(%carried.2), index=0
  %limit.2 = s32[] constant(5)
  ROOT %less.2 = pred[] compare(%i.2, %limit.2), direction=LT
}

ENTRY %main (x: f32[10,20]) -> f32[7,10,10] {
  %x = f32[10,20]{1,0} parameter(0), metadata={op_name="x"}
  %zero = s32[] constant(0)
  %empty = f32[] constant(0)
  %cache = f32[7,10,10]{2,1,0} broadcast(%empty), dimensions={}
  %start = (s32[], f32[10,20]{1,0}, f32[7,10,10]{2,1,0}) tuple(%zero, %x, \
%cache)
  %loop = (s32[], f32[10,20]{1,0}, f32[7,10,10]{2,1,0}) while(%start), \
condition=%condition, body=%body, metadata={op_name="jit(f)/while"}
  ROOT %result = f32[7,10,10]{2,1,0} get-tuple-element(%loop), index=2
}
"""


def program(body: str, *, devices: int = 1, before: str = '') -> str:
  """A program whose entry has the instructions of `body`, one per line."""
  lines = '\n'.join(f'  {line.strip()}' for line in body.strip().splitlines())
  return (
      f'HloModule jit_f, is_scheduled=true, num_partitions={devices}\n\n'
      f'{before}ENTRY %main (x: f32[8]) -> f32[8] {{\n{lines}\n}}\n'
  )


def kernels_of(text):
  """The kernels of a program, by the names of their instructions."""
  return {k.instruction.name: k for k in kinds.kernels(hlo.parse(text))}


def only(instruction, *, before='', operands=''):
  """The kernel of an instruction that reads `operands`."""
  text = program(f'{operands}\n{instruction}', before=before)
  return list(kernels_of(text).values())[-1]
