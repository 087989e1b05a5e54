"""Damaged and hostile references: one sentence each, and nothing executed."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from rq_jax.evaluation import npz
from rq_jax.evaluation import references

MOMENTS = {'mu': np.arange(3.0), 'sigma': np.eye(3)}


class Trap:
  """An object whose pickle makes a folder when Python loads it."""

  def __reduce__(self):
    return os.mkdir, ('executed',)


def refusal(path, match):
  """Checks that a file is refused by one error, of few lines."""
  with pytest.raises(ValueError, match=match) as caught:
    references.read(path)
  text = str(caught.value)
  assert str(path) in text and '\n' not in text and len(text) < 600


def archive(path, members):
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    for name, data in members.items():
      file.writestr(name, data)
  return path


def npy(array):
  stream = io.BytesIO()
  np.save(stream, array)
  return stream.getvalue()


def header(text):
  """A .npy file that has this header and no values."""
  data = text.encode('latin-1') + b'\n'
  return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(data)) + data


def changed(name, place, value):
  arrays = {key: array.copy() for key, array in MOMENTS.items()}
  arrays[name][place] = value
  return arrays


@pytest.mark.parametrize(
    'arrays,match',
    [
        ({'mu': np.zeros(3)}, 'needs mu and sigma'),
        ({'x': np.zeros(3)}, 'holds the arrays x'),
        (MOMENTS | {'sigma': np.eye(4)}, r'shapes \[3\] and \[4, 4\]'),
        (MOMENTS | {'mu': np.zeros((3, 1))}, 'must be float with 1 dim'),
        (MOMENTS | {'mu': np.arange(3)}, r'mu is int64\[3\]'),
        (MOMENTS | {'mu': np.zeros(0)}, r'mu is float64\[0\]'),
        (changed('mu', 1, np.nan), 'not finite'),
        (changed('sigma', (0, 1), np.inf), 'not finite'),
        (changed('sigma', (0, 1), 0.5), 'not symmetric.*up to 0.5'),
        (changed('sigma', (2, 2), -1e-9), 'negative variance, of feature 2'),
        (MOMENTS | {'mu_s': np.zeros(2)}, 'mu_s and sigma_s is missing'),
        (MOMENTS | {'arr_0': np.zeros((2, 4, 4, 3))}, 'must be uint8'),
        (MOMENTS | {'arr_0': np.zeros((2, 4), np.uint8)}, 'must be uint8'),
        (MOMENTS | {'feats': np.ones((4, 2))}, 'mu has 3 features and feats'),
        (
            {'feats': np.float32([[1, 2], [3, np.nan]])},
            'finite, first in row=1',
        ),
        ({'feats': np.ones((1, 2))}, 'features of one image'),
        (MOMENTS | {'description': np.array('[')}, 'description that cannot'),
        (MOMENTS | {'description': np.array('{"count": 0}')}, 'images is 0'),
    ],
)
def test_contents_that_cannot_be_are_refused(tmp_path, arrays, match):
  path = tmp_path / 'reference.npz'
  np.savez(path, **arrays)
  if 'one image' in match:
    with pytest.raises(ValueError, match=match):
      references.read(path)
  else:
    refusal(path, match)


def test_what_is_no_reference_at_all_is_refused(tmp_path):
  refusal(tmp_path, 'is not a file')
  refusal(tmp_path / 'missing.npz', 'is not a file')
  path = tmp_path / 'file.npz'
  for data in (b'', b'\x93NUMPY', os.urandom(2000), b'PK\3\4' + bytes(50)):
    path.write_bytes(data)
    refusal(path, 'cannot be read as an .npz file')
  refusal(archive(path, {'a.txt': b'x'}), 'holds 0 arrays')


def test_objects_are_refused_and_not_unpickled(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  path = tmp_path / 'file.npz'
  np.savez(path, mu=np.array([Trap()], object), sigma=np.eye(1))
  refusal(path, 'type object, and only numbers')
  for name in ('file.pt', 'x-vgg16-features-y.pt'):
    data = pickle.dumps({'mu': Trap(), 'sigma': 1}, protocol=2)
    refusal(archive(tmp_path / name, {'a/data.pkl': data}), 'compressed')
    with zipfile.ZipFile(tmp_path / name, 'w') as file:
      file.writestr('a/data.pkl', data)
    refusal(tmp_path / name, 'not a cache of torch-fidelity')
  assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize(
    'text,match',
    [
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999,)}",
            'size does not fit its shape',
        ),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-2,)}", 'shape'),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 'object'),
        ("__import__('os').mkdir('executed')", 'header cannot be read'),
        (
            "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': ()}",
            'type',
        ),
        ('{' * 200, 'header cannot be read'),
    ],
)
def test_headers_are_checked_before_memory_is_allocated(
    tmp_path, monkeypatch, text, match
):
  monkeypatch.chdir(tmp_path)
  path = archive(tmp_path / 'file.npz', {'mu.npy': header(text)})
  refusal(path, match)
  assert not (tmp_path / 'executed').exists()


def test_damage_within_an_array_is_found(tmp_path):
  path = tmp_path / 'file.npz'
  np.savez(path, **MOMENTS)
  data = bytearray(path.read_bytes())
  at = data.index(np.float64(2).tobytes())
  data[at] ^= 1
  path.write_bytes(data)
  refusal(path, "in 'mu', Bad CRC-32")
  path.write_bytes(data[:-30])
  refusal(path, 'cannot be read as an .npz file')
  directory = data.index(b'PK\1\2')
  data[directory] ^= 1
  path.write_bytes(data)
  refusal(path, 'cannot be read as an .npz file')


def test_longer_and_doubled_arrays_are_refused(tmp_path):
  path = tmp_path / 'file.npz'
  members = {f'{name}.npy': npy(array) for name, array in MOMENTS.items()}
  refusal(archive(path, members | {'mu.npy': npy(np.zeros(3)) + b'x'}), 'size')
  with (
      pytest.warns(UserWarning, match='Duplicate'),
      zipfile.ZipFile(path, 'w') as file,
  ):
    for _ in range(2):
      file.writestr('mu.npy', members['mu.npy'])
  refusal(path, 'have different names')


def test_too_many_features_are_refused_unread(tmp_path):
  path = tmp_path / 'file.npz'
  np.savez_compressed(path, mu=np.zeros(2**14 + 1), sigma=np.zeros((2, 2)))
  refusal(path, 'at most 16384 features')


def test_arrays_beyond_the_limit_are_not_read(tmp_path, monkeypatch):
  path = tmp_path / 'file.npz'
  np.savez(path, **MOMENTS)
  monkeypatch.setattr(npz, 'MAX_BYTES', 71)
  refusal(path, 'holds sigma of 72 bytes, but at most 71 bytes are read')


def fidelity(**changes):
  """The instructions of a pickled array, some replaced by others."""
  parts = {
      'kind': b'cnumpy._core.multiarray\n_reconstruct\n',
      'class': b'cnumpy\nndarray\n',
      'shape': b'K\3\x85',
      'code': b'X\2\0\0\0f8',
      'order': b'X\1\0\0\0<',
      'columns': b'\x89',
      'text': b'X\x18\0\0\0' + bytes(24),
  } | changes
  latin = b'X\6\0\0\0latin1\x86R'
  encode = b'c_codecs\nencode\n'
  array = (
      parts['kind'] + parts['class'] + b'K\0\x85' + encode + b'X\1\0\0\0b'
      + latin + b'\x87R(K\1' + parts['shape'] + b'cnumpy\ndtype\n'
      + parts['code'] + b'\x89\x88\x87R(K\3' + parts['order']
      + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb' + parts['columns']
      + encode + parts['text'] + latin + b'tb'
  )  # fmt: skip
  sigma = pickle.dumps(np.eye(3), protocol=2)[2:-1]
  return b'\x80\2}(X\2\0\0\0mu' + array + b'X\5\0\0\0sigma' + sigma + b'u.'


@pytest.mark.parametrize(
    'changes,match',
    [
        ({'kind': b'cnumpy\ndtype\n'}, 'numpy.dtype.*arguments'),
        ({'class': b'cnumpy\nmatrix\n'}, '_reconstruct with arguments'),
        ({'code': b'X\2\0\0\0O8'}, 'numpy.dtype.*arguments'),
        ({'order': b'X\1\0\0\0>'}, 'not little-endian'),
        ({'shape': b'K\4\x85'}, r'shape \[4\] without 32 bytes'),
        ({'shape': b'J\xff\xff\xff\xff\x85'}, 'impossible shape'),
        ({'shape': b'N'}, 'description is incomplete'),
        ({'columns': b'N'}, 'description is incomplete'),
        ({'text': b'X\3\0\0\0\xe2\x82\xac'}, 'not written as bytes'),
    ],
)
def test_pickled_arrays_that_numpy_would_not_write_are_refused(
    tmp_path, changes, match
):
  path = tmp_path / 'a.pt'
  for data in (fidelity(), fidelity(**changes)):
    with zipfile.ZipFile(path, 'w') as file:
      file.writestr('a/data.pkl', data)
    if data == fidelity():
      np.testing.assert_array_equal(references.read(path).mean, np.zeros(3))
  refusal(path, match)


def test_other_files_of_pytorch_are_refused(tmp_path):
  path = tmp_path / 'a.pt'
  for tree in ({'mu': 1, 'sigma': 2}, {'state_dict': {}}, [1]):
    with zipfile.ZipFile(path, 'w') as file:
      file.writestr('a/data.pkl', pickle.dumps(tree, protocol=2))
    refusal(path, 'not a cache of torch-fidelity')


def test_images_without_pixels_are_refused(tmp_path):
  for shape in ((0, 8, 8, 3), (2, 0, 8, 3)):
    np.savez(tmp_path / 'x.npz', arr_0=np.zeros(shape, np.uint8))
    refusal(tmp_path / 'x.npz', r'arr_0 is uint8.*must be uint8\[N, Y, X, 3\]')


@pytest.mark.parametrize('difference', [0.9e-6, 1.1e-6])
def test_covariances_are_symmetric_to_a_millionth(tmp_path, difference):
  path = tmp_path / 'x.npz'
  np.savez(path, **changed('sigma', (0, 1), difference))
  if difference < 1e-6:
    assert references.read(path).covariance[0, 1] == difference
  else:
    refusal(path, 'a covariance that is not symmetric')


def test_only_the_width_of_features_is_limited(tmp_path):
  np.savez(tmp_path / 'x.npz', feats=np.ones((2**14 + 1, 1), np.float32))
  assert references.read(tmp_path / 'x.npz').count == 2**14 + 1
