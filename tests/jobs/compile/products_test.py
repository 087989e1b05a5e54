"""Products and convolutions of kernels: their sizes and operations."""

import pytest

from tests.jobs.compile import programs_text


def test_a_product_has_its_smallest_size_and_layout():
  operands = """
      %x = bf16[3,8,16]{2,1,0} parameter(0)
      %w = bf16[32,16]{1,0} parameter(1)
      """
  kernel = programs_text.only(
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


@pytest.mark.parametrize('summed', [0, 1])
def test_weights_may_be_the_first_factor_of_few_rows(summed):
  shape = ('f32[16,32]', 'f32[32,16]')[summed]
  kernel = programs_text.only(
      'ROOT %d = f32[32,3]{1,0} dot(%w, %x),'
      f' lhs_contracting_dims={{{summed}}},'
      ' rhs_contracting_dims={1}',
      operands=f"""
      %w = {shape}{{1,0}} parameter(0)
      %x = f32[3,16]{{1,0}} parameter(1)
      """,
  )
  assert kernel.counted.by_output == bool(summed)
  assert kernel.counted.smallest == 3


def test_many_rows_are_not_taken_for_weights():
  kernel = programs_text.only(
      'ROOT %d = f32[2048,512]{1,0} dot(%x, %w), lhs_contracting_dims={1},'
      ' rhs_contracting_dims={0}',
      operands="""
      %x = f32[2048,2048]{1,0} parameter(0)
      %w = f32[2048,512]{1,0} parameter(1)
      """,
  )
  assert not kernel.counted.by_output


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
  split = programs_text.only(
      line.replace('SCOPE', 'attention/out'), operands=operands
  )
  (product,) = split.products
  assert split.counted.kind == 'products'
  assert product.split == 4
  assert product.flops == 2 * 64 * 1536 * 1536
  assert not product.by_output
  batch = programs_text.only(
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
  counted = programs_text.only(f'ROOT %c = {line}', operands=operands).counted
  assert (counted.kind, counted.flops) == (kind, flops)
