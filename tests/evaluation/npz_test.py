"""Arrays of .npz files: what cannot be read in rows, or changes meanwhile."""

import zipfile

import numpy as np
import pytest

from rq_jax.evaluation import npz


def test_arrays_stored_by_column_are_read_whole_but_not_in_rows(tmp_path):
  values = np.arange(12.0).reshape(3, 4)
  np.savez(tmp_path / 'x.npz', x=np.asfortranarray(values), scalar=1.5)
  with npz.NpzFile(tmp_path / 'x.npz') as file:
    np.testing.assert_array_equal(file.read('x'), values)
    for name in ('x', 'scalar'):
      with pytest.raises(ValueError, match=f'{name} in an order from which'):
        next(file.rows(name, 2))


def test_an_array_that_changes_before_it_is_read_is_refused(tmp_path):
  path = tmp_path / 'x.npz'
  npz.write(path, {'x': np.zeros((4, 2))})
  with npz.NpzFile(path) as file:
    rows = npz.StoredRows(file, 'x')
  assert [len(block) for block in rows.blocks(3)] == [3, 1]
  npz.write(path, {'x': np.zeros((5, 2))})
  with pytest.raises(ValueError, match='changed while it was read'):
    next(rows.blocks(3))


def test_a_negative_shape_of_the_right_size_is_refused(tmp_path):
  path = tmp_path / 'x.npz'
  np.savez(path, x=np.zeros((2, 3)))
  with zipfile.ZipFile(path) as archive:
    data = archive.read('x.npy').replace(b'(2, 3), }  ', b'(-2, -3), }')
  assert b'(-2, -3)' in data
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('x.npy', data)
  with pytest.raises(ValueError, match=r'the shape is \(-2, -3\)'):
    npz.NpzFile(path)
