"""Kernels by kind, with the bytes that they move and their operations."""

import pytest

from tests.jobs.compile import programs_text


@pytest.mark.parametrize(
    ('name', 'kind', 'size', 'flops'),
    [
        # x, w, bias and the result; 10 x 10 sums of 20 products.
        ('product.1', 'products', 4 * (200 + 200 + 10 + 100), 2 * 100 * 20),
        # The written slice is read and written; the index is read.
        ('written.1', 'cache writes', 4 * (100 + 1 + 100), 0),
        # Two of seven rows are read, with their two indices, and written.
        ('read.1', 'norms', 4 * (200 + 2 + 200), 200),
        ('kept.1', 'copies', 4 * (700 + 700), 0),
        ('cache', 'fills', 4 * (1 + 700), 0),
    ],
)
def test_kernels_of_a_loop(name, kind, size, flops):
  kernel = programs_text.kernels_of(programs_text.LOOP)[name]
  counted = kernel.counted
  assert (counted.kind, counted.bytes, counted.flops) == (kind, size, flops)
  assert counted.times == (1 if name == 'cache' else 5)


def test_nothing_else_is_a_kernel():
  assert set(programs_text.kernels_of(programs_text.LOOP)) == {
      'product.1', 'written.1', 'read.1', 'kept.1', 'cache',
  }  # fmt: skip


OPERANDS = """
    %x = f32[100,8]{1,0} parameter(0)
    %v = f32[100,8]{1,0:T(8,128)S(1)} parameter(1)
    %i = s32[2]{0} parameter(2)
    %u = f32[2,8]{1,0} parameter(3)
    """


@pytest.mark.parametrize(
    ('line', 'kind', 'size'),
    [
        ('f32[100,8]{0,1} copy(%x)', 'copies', 6400),
        ('f32[8,100]{1,0} transpose(%x), dimensions={1,0}', 'copies', 6400),
        ('bf16[100,8]{1,0} convert(%x)', 'casts', 4800),
        ('f32[2,8]{1,0} gather(%x, %i)', 'copies', 128),
        ('f32[3,8]{1,0} dynamic-slice(%x, %i)', 'copies', 192),
        ('f32[100,8]{1,0} scatter(%x, %i, %u)', 'cache writes', 128),
        (
            'f32[100,8]{1,0} dynamic-update-slice(%x, %u, %i)',
            'cache writes',
            128,
        ),
        ('f32[100,8]{1,0} exponential(%x)', 'elementwise', 6400),
        ('f32[100]{0} reduce(%x, %i), dimensions={1}', 'reductions', 3608),
        ('(f32[100,8]{1,0}, s32[100,8]{1,0}) sort(%x, %x)', 'sorts', 12800),
        # From the main memory into the one on the chip.
        (
            '(f32[100,8]{1,0:S(1)}, f32[100,8]{1,0}, u32[]{:S(2)})'
            ' copy-start(%x)',
            'prefetches',
            3200,
        ),
        (
            '((f32[100,8]{1,0}), f32[1,8]{1,0:S(1)}, s32[]{:S(2)})'
            ' slice-start(%x), slice={[0:1], [0:8]}',
            'prefetches',
            32,
        ),
        ('f32[100,8]{1,0:S(1)} negate(%v)', 'elementwise', 0),
        ('u32[6,2]{1,0} rng-bit-generator(%i)', 'random numbers', 56),
        (
            'f32[100,8]{1,0} add(%x, %x), metadata={op_name="a/norm2/sub"}',
            'norms',
            9600,
        ),
        (
            'f32[100,8]{1,0} add(%x, %x), metadata={op_name="a/draws/sub"}',
            'draws',
            9600,
        ),
        # Pallas kernels: one that returns new arrays, and one that writes its
        # first two operands in place.
        (
            '(f32[100,8]{1,0}, f32[2,8]{1,0}) custom-call(%x, %u),'
            ' custom_call_target="tpu_custom_call",'
            ' metadata={op_name="a/draws/pallas_call"}',
            'draws',
            2 * (3200 + 64),
        ),
        (
            '(f32[100,8]{1,0}, f32[2,8]{1,0}, f32[2,8]{1,0}) custom-call(%x,'
            ' %u, %i), custom_call_target="tpu_custom_call",'
            ' output_to_operand_aliasing={{0}: (0, {}), {1}: (1, {})},'
            ' metadata={op_name="a/attention/pallas_call"}',
            'attention',
            3200 + 64 + 8 + 64,
        ),
        (
            'f32[2,8]{1,0} custom-call(%x, %u), custom_call_target="f",'
            ' output_to_operand_aliasing={{}: (1, {})}',
            'elementwise',
            3200 + 64,
        ),
        (
            'u32[100,8]{1,0} xor(%x, %x), metadata={op_name="jit(_bernoulli)"}',
            'random numbers',
            9600,
        ),
        (
            'f32[100,8]{1,0} divide(%x, %x),'
            ' metadata={op_name="layers/attention/div"}',
            'attention',
            9600,
        ),
    ],
)
def test_single_instructions(line, kind, size):
  counted = programs_text.only(f'ROOT %c = {line}', operands=OPERANDS).counted
  assert (counted.kind, counted.bytes) == (kind, size)


@pytest.mark.parametrize(
    'line',
    [
        's32[] add(%i, %i)',
        'u32[2]{0} xor(%i, %i)',
        'f32[100,8]{1,0} bitcast(%x)',
        'f32[100,8]{1,0} copy-done(%x)',
        'f32[100,8]{1,0} all-reduce(%x), to_apply=%f',
        'f32[100,8]{1,0} all-reduce-done(%x)',
        'f32[100,8]{1,0} custom-call(), custom_call_target="AllocateBuffer"',
    ],
)
def test_instructions_that_are_no_kernels(line):
  text = programs_text.program(f'{OPERANDS}\nROOT %c = {line}')
  assert not programs_text.kernels_of(text)


def test_a_fusion_with_two_results_counts_the_slice_of_one():
  before = """\
%fused (p.0: f32[100,8], p.1: f32[2,8], p.2: s32[2]) -> (f32[100,8], f32[2,8]) {
  %p.0 = f32[100,8]{1,0} parameter(0)
  %p.1 = f32[2,8]{1,0} parameter(1)
  %p.2 = s32[2]{0} parameter(2)
  %twice.1 = f32[2,8]{1,0} add(%p.1, %p.1)
  %write.1 = f32[100,8]{1,0} dynamic-update-slice(%p.0, %twice.1, %p.2)
  ROOT %both.1 = (f32[100,8]{1,0}, f32[2,8]{1,0}) tuple(%write.1, %twice.1)
}

"""
  counted = programs_text.only(
      'ROOT %c = (f32[100,8]{1,0}, f32[2,8]{1,0}) fusion(%x, %u, %i),'
      ' kind=kLoop, calls=%fused',
      operands=OPERANDS,
      before=before,
  ).counted
  # Reads u and i; writes the slice, and its own result.
  assert counted.bytes == 64 + 8 + 64 + 64
  assert counted.kind == 'elementwise'  # Not only slices are written.
  assert counted.flops == 16
