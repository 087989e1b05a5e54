"""Tables for terminals: aligned columns."""

from rq_jax.reports import columns


def test_columns_are_aligned():
  rows = [('a', 'b'), ('long', '1.25')]
  assert list(columns.aligned(rows)) == ['     a     b', '  long  1.25']
  assert next(iter(columns.aligned(rows, left=1))) == '  a        b'
