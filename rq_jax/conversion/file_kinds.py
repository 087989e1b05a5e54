"""Recognises files that hold no weights by their first bytes, for errors.

Downloads go wrong in a few usual ways: a web page or a pointer of Git LFS is
saved instead of the file, or the file belongs to another framework. The error
then names the kind of the file, and what to give instead.
"""

import os
import pathlib
import re

# Bytes at the start of a file that suffice to recognise it.
HEAD_BYTES = 512

_TORCH = 'Give a file of torch.save or a safetensors file'
_UNPACK = 'Unpack it, and give the file with the weights'
# For each kind: how a file starts, what it is, and what to do.
_KINDS = (
    (
        rb'version https://git-lfs',
        'a pointer of Git LFS, which only names the file',
        'Download the file itself: run `git lfs pull` in its repository',
    ),
    (
        rb'\s*(?i:<!doctype|<html|<\?xml|<head)',
        'a web page',
        'Download the file itself: `curl -L`, or a browser that is logged in',
    ),
    (rb'\s*[{\[]\s*"', 'a JSON text', _TORCH),
    (rb'\x93NUMPY', 'an array of NumPy', _TORCH),
    (rb'\x89HDF\r\n', 'an HDF5 file, as Keras writes it', _TORCH),
    (rb'\x89PNG|\xff\xd8\xff|GIF8', 'an image', _TORCH),
    (rb'\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf', 'a compressed file', _UNPACK),
    # Field 1 is the version. A text, such as the producer, or a part of the
    # model, such as its graph, follows.
    (
        rb'\x08[\x01-\x1f][\x12\x1a\x22\x3a\x42]',
        'an ONNX model',
        'Save the state_dict() of the model in PyTorch with torch.save',
    ),
    # A cut off file of torch.save may be shorter.
    (
        rb'(?s)\x80[\x02-\x05].{14}',
        'a pickle that torch.save did not write',
        'Save the tensors with torch.save, where the file can be loaded',
    ),
)


def require_file(path: pathlib.Path) -> None:
  """Raises a ValueError if the path is not one of a file with contents."""
  if path.is_dir():
    raise ValueError(f'{path} is a folder. {_TORCH}.')
  if not path.is_file():
    raise ValueError(f'{path} does not exist. {_TORCH}.')
  if not os.path.getsize(path):
    raise ValueError(
        f'{path} is empty: the download or copy failed. Download or copy it'
        ' again.'
    )


def recognised(head: bytes) -> tuple[str, str] | None:
  """What a file is that holds no weights, and what to do; None if unknown.

  Args:
    head: Its first `HEAD_BYTES` bytes, or all of a shorter file.
  """
  if head[257:262] == b'ustar':
    return 'a tar file', f'{_UNPACK}.'
  for start, kind, advice in _KINDS:
    if re.match(start, head):
      return kind, f'{advice}.'
  return None
