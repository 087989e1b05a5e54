"""Files without weights are refused by a sentence that says what they are."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from rq_jax.conversion import file_kinds
from rq_jax.conversion import state_dicts


def _tar():
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w') as tar:
    tar.addfile(tarfile.TarInfo('model.pt'))
  return buffer.getvalue()


def _zip(*names):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    for name in names:
      archive.writestr(name, b'')
  return buffer.getvalue()


def _array():
  buffer = io.BytesIO()
  np.save(buffer, np.zeros(2))
  return buffer.getvalue()


LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:67\nsize 5\n'
# IR version 8, then the name of the producer; and then the graph.
ONNX = b'\x08\x08\x12\x07pytorch\x1a\x051.0.0:\x04'

# For each kind: the bytes of a file, what it is, and what to do.
KINDS = {
    'web page': (b'\n<!DOCTYPE html><html>', 'a web page', 'curl -L'),
    'web page in small letters': (b'<html lang="en">', 'a web page', 'curl'),
    'answer of a server': (b'<?xml version="1.0"?><Error>', 'a web page', 'c'),
    'web page without a type': (b'<head><title>', 'a web page', 'curl'),
    'pointer of Git LFS': (LFS, 'a pointer of Git LFS', 'git lfs pull'),
    'JSON': (b'{\n  "error": "not found"}', 'a JSON text', 'safetensors'),
    'ONNX': (ONNX, 'an ONNX model', 'state_dict()'),
    'ONNX, graph': (b'\x08\x09\x3a\x80\x01', 'an ONNX model', 'state_dict()'),
    'ONNX, opset': (b'\x08\x09\x42\x04', 'an ONNX model', 'state_dict()'),
    'tar': (_tar(), 'a tar file', 'Unpack it'),
    'gzip': (b'\x1f\x8b\x08\x00', 'a compressed file', 'Unpack it'),
    'bzip2': (b'BZh91AY', 'a compressed file', 'Unpack it'),
    'xz': (b'\xfd7zXZ\0', 'a compressed file', 'Unpack it'),
    '7z': (b'7z\xbc\xaf\x27\x1c', 'a compressed file', 'Unpack it'),
    'array': (_array(), 'an array of NumPy', 'torch.save'),
    'arrays': (_zip('a.npy'), 'not one of torch.save', 'checkpoint'),
    'TorchScript': (
        _zip('net/data.pkl', 'net/code/__torch__.py', 'net/constants.pkl'),
        'a TorchScript program',
        'state_dict()',
    ),
    'HDF5': (b'\x89HDF\r\n\x1a\n', 'an HDF5 file', 'torch.save'),
    'PNG': (b'\x89PNG\r\n\x1a\n', 'an image', 'torch.save'),
    'JPEG': (b'\xff\xd8\xff\xe0', 'an image', 'torch.save'),
    'GIF': (b'GIF89a', 'an image', 'torch.save'),
    'pickle': (
        pickle.dumps({'weight': [1.0] * 9}, 4),
        'a pickle that torch.save did not write',
        'torch.save',
    ),
    'empty': (b'', 'is empty', 'Download or copy it again'),
}


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('name', KINDS)
def test_a_file_of_another_kind_is_named(tmp_path, name, suffix):
  data, kind, advice = KINDS[name]
  path = tmp_path / f'a{suffix}'
  path.write_bytes(data)
  with (
      pytest.raises(ValueError) as refusal,
      state_dicts.open_state_dict(path),
  ):
    pass
  text = str(refusal.value)
  assert text.startswith(str(path)) and kind in text and advice in text
  assert len(text) < len(str(path)) + 250


@pytest.mark.parametrize(
    ('name', 'message'), [('.', 'is a folder'), ('none', 'does not exist')]
)
def test_what_is_no_file_is_refused(tmp_path, name, message):
  with (
      pytest.raises(ValueError, match=message),
      state_dicts.open_state_dict(tmp_path / name),
  ):
    pass


def test_unknown_bytes_are_not_guessed_at():
  for head in (b'\0' * 600, b'weights', b'\n\x05Const', b'\x08\x01\x08'):
    assert file_kinds.recognised(head[:512]) is None
