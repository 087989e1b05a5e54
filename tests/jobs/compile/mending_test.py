"""What may be worth a change is found, and nothing else."""

from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import kinds
from rq_jax.jobs.compile import mending
from tests.jobs.compile import programs_text

# 10,000,000 numbers.
LARGE = 'f32[2500,4000]'
OPERANDS = f"""
    %x = {LARGE}{{1,0}} parameter(0)
    %h = bf16[2500,4000]{{1,0}} parameter(1)
    """


def findings(text, *, dtype='float32', parameters=()):
  kernels = list(kinds.kernels(hlo.parse(text)))
  return mending.find(kernels, (), dtype=dtype, parameters=list(parameters))


def of(line, **options):
  return findings(programs_text.program(f'{OPERANDS}\n{line}'), **options)


def test_a_large_copy_is_found():
  (one,) = of(
      f'ROOT %c = {LARGE}{{0,1}} copy(%x), metadata={{op_name="a/b/transpose"}}'
  )
  assert one == mending.Finding(
      what='A large array is copied.',
      shape=LARGE,
      op_name='a/b/transpose',
      count=1,
      bytes=80_000_000,
  )


def test_a_small_copy_is_not():
  small = '%s = f32[1000,1000]{1,0} parameter(2)'
  assert not of(f'{small}\nROOT %c = f32[1000,1000]{{0,1}} copy(%s)')


def test_copies_of_different_layers_are_one_finding():
  lines = [
      f'%c{i} = {LARGE}{{0,1}} copy(%x), metadata={{op_name="layer_{i}/t"}}'
      for i in range(3)
  ]
  (one,) = of('\n'.join([*lines, 'ROOT %r = f32[8]{0} negate(%c0)']))
  assert (one.count, one.bytes) == (3, 240_000_000)
  assert one.op_name == 'layer_0/t'


def test_a_copy_of_what_a_loop_carries_is_found_once():
  text = programs_text.LOOP.replace('[7,10,10]', '[7,1000,1000]')
  (one,) = findings(text)
  assert one.what == 'A loop copies an array that it carries.'
  assert (one.shape, one.count) == ('f32[7,1000,1000]', 5)
  assert one.bytes == 5 * 2 * 28_000_000


def test_float32_activations_are_found_if_the_model_computes_in_bfloat16():
  line = f'ROOT %c = {LARGE}{{1,0}} negate(%x)'
  assert not of(line)
  (one,) = of(line, dtype='bfloat16')
  assert 'float32 activations' in one.what
  # Gradients and moments have the shape of a parameter, or of one layer of it.
  assert not of(line, dtype='bfloat16', parameters=[(4000, 2500)])
  assert not of(line, dtype='bfloat16', parameters=[(42, 2500, 4000)])


def test_split_sums_are_found():
  operands = """
      %x = bf16[64,4,3840]{2,1,0} parameter(0)
      %w = bf16[4,3840,15360]{2,1,0} parameter(1)
      """
  line = (
      'ROOT %d = f32[4,64,15360]{2,1,0} dot(%x, %w), lhs_batch_dims={1},'
      ' lhs_contracting_dims={2}, rhs_batch_dims={0}, rhs_contracting_dims={1},'
      ' metadata={op_name="jit(f)/mlp_in/dot_general"}'
  )
  (one,) = findings(programs_text.program(f'{operands}\n{line}'))
  assert one.what.startswith('The sum of a product is split')
  assert one.shape == 'f32[4,64,15360]'


def test_the_largest_comes_first():
  small = 'f32[2500,2000]{1,0} copy(%x), metadata={op_name="small"}'
  large = f'{LARGE}{{0,1}} copy(%x), metadata={{op_name="large"}}'
  found = of(f'%a = {small}\n%b = {large}\nROOT %r = f32[8]{{0}} negate(%a)')
  assert [one.op_name for one in found] == ['large', 'small']
