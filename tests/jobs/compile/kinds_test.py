"""Kernels by kind, with the bytes that they move and their operations."""

import pytest

from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import kinds
from tests.jobs.compile import programs_text


def kernels_of(text):
  return {k.instruction.name: k for k in kinds.kernels(hlo.parse(text))}


def only(instruction, *, before='', operands=''):
  """The kernel of an instruction that reads `operands`."""
  text = programs_text.program(f'{operands}\n{instruction}', before=before)
  return list(kernels_of(text).values())[-1]


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
  kernel = kernels_of(programs_text.LOOP)[name]
  counted = kernel.counted
  assert (counted.kind, counted.bytes, counted.flops) == (kind, size, flops)
  assert counted.times == (1 if name == 'cache' else 5)


def test_nothing_else_is_a_kernel():
  assert set(kernels_of(programs_text.LOOP)) == {
      'product.1', 'written.1', 'read.1', 'kept.1', 'cache',
  }  # fmt: skip


def test_a_product_has_its_smallest_size_and_layout():
  operands = """
      %x = bf16[3,8,16]{2,1,0} parameter(0)
      %w = bf16[32,16]{1,0} parameter(1)
      """
  kernel = only(
      'ROOT %d = f32[3,8,32]{2,1,0} dot(%x, %w), lhs_contracting_dims={2},'
      ' rhs_contracting_dims={1}',
      operands=operands,
  )
  counted = kernel.counted
  assert counted.flops == 2 * 3 * 8 * 32 * 16
  assert counted.smallest == 16  # Of 24 rows, 32 columns and 16 summed numbers.
  assert counted.dtype == 'bfloat16'
  assert counted.by_output
  assert counted.bytes == 2 * (384 + 512) + 4 * 768


def test_a_product_whose_sum_is_split_is_not_one_of_a_batch():
  operands = """
      %x = bf16[64,4,384]{2,1,0} parameter(0)
      %w = bf16[4,384,1536]{2,1,0} parameter(1)
      """
  line = (
      'ROOT %d = f32[4,64,1536]{2,1,0} dot(%x, %w), lhs_batch_dims={1},'
      ' lhs_contracting_dims={2}, rhs_batch_dims={0}, rhs_contracting_dims={1},'
      ' metadata={op_name="jit(f)/SCOPE/dot_general"}'
  )
  split = only(line.replace('SCOPE', 'attention/out'), operands=operands)
  (product,) = split.products
  assert split.counted.kind == 'products'
  assert product.split == 4
  assert product.flops == 2 * 64 * 1536 * 1536
  assert not product.by_output
  batch = only(
      line.replace('SCOPE', 'attention/bnqk,bknh->bqnh'), operands=operands
  )
  assert batch.counted.kind == 'attention'
  assert batch.products[0].split == 1


@pytest.mark.parametrize(
    ('line', 'kind', 'flops'),
    [
        # Each of 8 x 8 outputs sums 9 places, but 6 at edges and 4 in corners.
        (
            'f32[2,8,8,5]{3,2,1,0} convolution(%x, %k), window={size=3x3'
            ' pad=1_1x1_1}, dim_labels=b01f_01io->b01f,'
            ' metadata={op_name="a/conv_general_dilated"}',
            'convolutions',
            2 * 2 * (36 * 9 + 24 * 6 + 4 * 4) * 3 * 5,
        ),
        # The transpose of a strided one inserts zeros, which do not count.
        (
            'f32[2,15,15,5]{3,2,1,0} convolution(%x, %one), window={size=1x1'
            ' lhs_dilate=2x2}, dim_labels=b01f_01io->b01f,'
            ' metadata={op_name="a/conv_general_dilated"}',
            'convolutions',
            2 * 2 * 64 * 3 * 5,
        ),
        # A weight gradient: the window is as large as the image.
        (
            'f32[3,3,3,5]{3,2,1,0} convolution(%x, %g), window={size=8x8'
            ' pad=1_1x1_1}, dim_labels=f01b_i01o->01bf,'
            ' metadata={op_name="a/conv_general_dilated"}',
            'weight gradients',
            2 * 2 * (22 * 22) * 3 * 5,
        ),
        # TPUs compute products as convolutions.
        (
            'f32[2,8,8,5]{3,2,1,0} convolution(%x, %one), window={size=1x1},'
            ' dim_labels=b01f_01io->b01f, metadata={op_name="a/dot_general"}',
            'products',
            2 * 2 * 64 * 3 * 5,
        ),
        # Without a window.
        (
            'f32[2,5]{1,0} convolution(%m, %n), dim_labels=bf_io->bf,'
            ' metadata={op_name="a/dot_general"}',
            'products',
            2 * 2 * 7 * 5,
        ),
        # A batch of 8 products of [2, 3] and [3, 5], as TPUs write it.
        (
            'f32[8,2,5]{2,1,0} convolution(%l, %r), window={size=8 stride=7'
            ' lhs_dilate=8}, dim_labels=0bf_0io->0bf,'
            ' metadata={op_name="a/dot_general"}',
            'products',
            2 * 8 * 2 * 3 * 5,
        ),
        # Libraries of GPUs; a window counts in full at the edges, too.
        (
            'f32[2,8,8,5]{3,2,1,0} custom-call(%x, %k), window={size=3x3'
            ' pad=1_1x1_1}, dim_labels=b01f_01io->b01f,'
            ' custom_call_target="__cudnn$convForward"',
            'convolutions',
            2 * (2 * 64) * 9 * 3 * 5,
        ),
        (
            'f32[2,8,8,3]{3,2,1,0} custom-call(%g, %k), window={size=3x3'
            ' pad=1_1x1_1}, dim_labels=b01f_01io->b01f,'
            ' custom_call_target="__cudnn$convBackwardInput"',
            'convolutions',
            2 * (2 * 64) * 9 * 3 * 5,
        ),
        (
            '(f32[5,3,3,3]{3,2,1,0}, u8[0]{0}) custom-call(%x, %g),'
            ' window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f,'
            ' custom_call_target="__cudnn$convBackwardFilter"',
            'weight gradients',
            2 * (2 * 64) * 9 * 3 * 5,
        ),
        (
            'f32[2,5]{1,0} custom-call(%m, %n),'
            ' custom_call_target="__cublas$gemm"',
            'products',
            2 * 2 * 7 * 5,
        ),
    ],
)
def test_operations_of_convolutions(line, kind, flops):
  operands = """
      %x = f32[2,8,8,3]{3,2,1,0} parameter(0)
      %k = f32[3,3,3,5]{3,2,1,0} parameter(1)
      %one = f32[1,1,3,5]{3,2,1,0} parameter(2)
      %g = f32[2,8,8,5]{3,2,1,0} parameter(3)
      %l = f32[8,2,3]{2,1,0} parameter(4)
      %r = f32[8,3,5]{2,1,0} parameter(5)
      %m = f32[2,7]{1,0} parameter(6)
      %n = f32[7,5]{1,0} parameter(7)
      """
  counted = only(f'ROOT %c = {line}', operands=operands).counted
  assert (counted.kind, counted.flops) == (kind, flops)


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
  counted = only(f'ROOT %c = {line}', operands=OPERANDS).counted
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
  assert not kernels_of(text)


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
  counted = only(
      'ROOT %c = (f32[100,8]{1,0}, f32[2,8]{1,0}) fusion(%x, %u, %i),'
      ' kind=kLoop, calls=%fused',
      operands=OPERANDS,
      before=before,
  ).counted
  # Reads u and i; writes the slice, and its own result.
  assert counted.bytes == 64 + 8 + 64 + 64
  assert counted.kind == 'elementwise'  # Not only slices are written.
  assert counted.flops == 16
