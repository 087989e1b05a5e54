"""NumPy arrays inside of the pickle of a PyTorch file.

torch-fidelity saves its statistics this way. NumPy pickles an array as calls of
its own functions, and the bytes of the array as a text in Latin-1. Here these
calls build a `PickledArray`, after their arguments have been checked. The named
functions are never called.
"""

from collections.abc import Callable
import math
from typing import Any, NoReturn

import numpy as np

from rq_jax.conversion.torch_format import tensors

# The covariance of 2048 features takes 50 MB, because UTF-8 stores each byte
# above 127 as two.
MAX_BYTES = 128 * 2**20

NAMES = {
    '_codecs encode',
    'numpy dtype',
    'numpy ndarray',
    'numpy._core.multiarray _reconstruct',
    'numpy.core.multiarray _reconstruct',  # Before NumPy 2.
}
_FLOATS = {code: np.dtype(f'<{code}') for code in ('f2', 'f4', 'f8')}


class PickledType:
  """The type of an array, as a pickle names it.

  Attributes:
    dtype: The type.
  """

  def __init__(self, dtype: np.dtype):
    self.dtype = dtype


class PickledArray:
  """An array in a pickle.

  Attributes:
    value: Its values, read-only; None until the pickle has given them.
  """

  def __init__(self):
    self.value: np.ndarray | None = None


class Calls:
  """The calls of one pickle that build arrays."""

  def __init__(self, refuse: Callable[[str], NoReturn]):
    self._refuse = refuse
    self._encoded = 0

  def value(self, function: str, arguments: Any) -> Any:
    """The value that represents the result of a call of one of `NAMES`.

    Raises:
      ValueError: From `refuse`, if NumPy would not pickle such a call.
    """
    match function, arguments:
      case '_codecs encode', (str() as text, 'latin1'):
        return self._bytes(text)
      case 'numpy dtype', (str() as code, False, True) if code in _FLOATS:
        return PickledType(_FLOATS[code])
      case name, ('numpy ndarray', (0,), b'b') if 'multiarray' in name:
        return PickledArray()
    return self._refuse(
        f'calls {function.replace(" ", ".", 1)} with arguments that arrays of'
        ' floats do not need'
    )

  def build(self, target: Any, state: Any) -> bool:
    """Gives an array or a type its contents.

    Returns:
      Whether the target is an array or a type.

    Raises:
      ValueError: From `refuse`, if the contents do not fit.
    """
    if isinstance(target, PickledType):
      if state != (3, '<', None, None, None, -1, -1, 0):
        self._refuse('has a type of arrays that is not little-endian')
      return True
    if not isinstance(target, PickledArray):
      return False
    match state:
      case (
          1,
          tuple() as shape,
          PickledType() as kind,
          bool() as columns,
          data,
      ):
        target.value = self._array(shape, kind.dtype, columns, data)
      case _:
        self._refuse('has an array whose description is incomplete')
    return True

  def _bytes(self, text: str) -> bytes:
    # A text that is used again and again would make a small file large.
    self._encoded += len(text)
    if self._encoded > MAX_BYTES:
      self._refuse(f'holds more than {MAX_BYTES} bytes of arrays')
    try:
      return text.encode('latin-1')
    except UnicodeEncodeError:
      return self._refuse('has an array that is not written as bytes')

  def _array(
      self, shape: tuple, dtype: np.dtype, columns: bool, data: Any
  ) -> np.ndarray:
    """The array of some bytes, which are in Fortran's order if `columns`."""
    if len(shape) > tensors.MAX_DIMENSIONS or not all(
        type(size) is int and 0 < size < 2**40 for size in shape
    ):
      self._refuse('has an array of an impossible shape')
    size = math.prod(shape) * dtype.itemsize
    if not isinstance(data, bytes) or len(data) != size:
      self._refuse(f'has an array of shape {list(shape)} without {size} bytes')
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape, order='F' if columns else 'C')
