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


def test_an_archive_has_at_most_64_arrays(tmp_path):
  arrays = {f'x{i}': np.zeros(1) for i in range(65)}
  np.savez(tmp_path / 'more.npz', **arrays)
  with pytest.raises(ValueError, match='65 arrays.*1 to 64'):
    npz.NpzFile(tmp_path / 'more.npz')
  del arrays['x0']
  np.savez(tmp_path / 'most.npz', **arrays)
  with npz.NpzFile(tmp_path / 'most.npz') as file:
    assert file.shapes.keys() == arrays.keys()


def test_blocks_of_bytes_do_not_change_what_is_written_and_read(
    tmp_path, monkeypatch
):
  values = np.random.default_rng(0).normal(size=(50, 3))
  npz.write(tmp_path / 'x.npz', {'x': values})
  with npz.NpzFile(tmp_path / 'x.npz') as file:
    npz.write(tmp_path / 'whole.npz', {'x': npz.StoredRows(file, 'x')})
    monkeypatch.setattr(npz, '_BLOCK_BYTES', 100)
    npz.write(tmp_path / 'parts.npz', {'x': npz.StoredRows(file, 'x')})
    np.testing.assert_array_equal(file.read('x'), values)
  whole, parts = (tmp_path / f'{n}.npz' for n in ('whole', 'parts'))
  assert whole.read_bytes() == parts.read_bytes()
