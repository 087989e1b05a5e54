"""Pallas kernels in programs: their kind, bytes and operations."""

import pytest

from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import kinds
from tests.jobs.compile import programs_text


def counted(name, metadata):
  """What is charged for a kernel of this name that reads 30 numbers."""
  text = programs_text.program(rf"""
      %x = f32[30]{{0}} parameter(0)
      ROOT %c = f32[30]{{0}} custom-call(%x), custom_call_target="__gpu$xla.gpu.triton", metadata={{op_name="jit(f)/{name}/pallas_call"}}, backend_config={{debug = false, ir = "ML\EFR {{[", name = "n"{metadata}}}
      """)  # noqa: E501 (a line of a program)
  *_, kernel = kinds.kernels(hlo.parse(text))
  return kernel.counted


def described(flops):
  names = {'bytes': 12, 'flops': flops, 'rows': 3, 'dtype': 'bfloat16'}
  pairs = [rf'\22{name}\22: \22{value}\22' for name, value in names.items()]
  return f', serialized_metadata = "{{{", ".join(pairs)}}}"'


@pytest.mark.parametrize('kind', ['products', 'attention'])
def test_kernels_with_products_describe_themselves(kind):
  found = counted(kind, described(77))
  assert (found.kind, found.bytes, found.flops) == (kind, 12, 77)
  assert (found.smallest, found.dtype) == (3, 'bfloat16')


def test_a_kernel_without_products_moves_what_it_says():
  found = counted('draws', described(0))
  assert (found.kind, found.bytes) == ('draws', 12)


def test_a_kernel_that_says_nothing_moves_its_operands_and_results():
  found = counted('other', '')
  assert (found.kind, found.bytes) == ('elementwise', 2 * 120)
