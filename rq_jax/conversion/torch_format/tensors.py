"""Tensors of PyTorch that lie in a file, and their types."""

import dataclasses
import math

import ml_dtypes
import numpy as np

# As classes of PyTorch are called that tell the type of a storage.
STORAGE_TYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        'DoubleStorage': np.float64,
        'FloatStorage': np.float32,
        'HalfStorage': np.float16,
        'BFloat16Storage': ml_dtypes.bfloat16,
        'LongStorage': np.int64,
        'IntStorage': np.int32,
        'ShortStorage': np.int16,
        'CharStorage': np.int8,
        'ByteStorage': np.uint8,
        'BoolStorage': np.bool_,
    }.items()
}

# Of NumPy before 2.0, which files may have to be read with.
MAX_DIMENSIONS = 32


@dataclasses.dataclass(frozen=True)
class Storage:
  """One-dimensional memory that tensors are views of."""

  key: str
  dtype: np.dtype
  numel: int


@dataclasses.dataclass(frozen=True)
class LazyTensor:
  """A tensor that lies in a file, not read yet.

  Attributes:
    dtype: NumPy's name for its type; bfloat16 is that of ml_dtypes.
    shape: As in PyTorch.
    stride: Elements from one index to the next, for each dimension.
    offset: Elements of the storage before its first one.
    storage: Key of its storage, which tensors may share.
  """

  dtype: np.dtype
  shape: tuple[int, ...]
  stride: tuple[int, ...]
  offset: int
  storage: str

  @property
  def nbytes(self) -> int:
    """Bytes of its elements."""
    return math.prod(self.shape) * self.dtype.itemsize

  @property
  def span(self) -> int:
    """Elements of the storage from its first one to its last one."""
    if 0 in self.shape:
      return 0
    pairs = zip(self.shape, self.stride)
    return 1 + sum((size - 1) * stride for size, stride in pairs)


def misfit(tensor: LazyTensor, numel: int) -> str | None:
  """Why a tensor is no view of a storage with `numel` elements, or None."""
  if len(tensor.shape) != len(tensor.stride):
    return 'has more sizes than strides, or fewer'
  if len(tensor.shape) > MAX_DIMENSIONS:
    return f'has {len(tensor.shape)} dimensions'
  if min((*tensor.shape, *tensor.stride, tensor.offset)) < 0:
    return 'has a negative size, stride or offset'
  if tensor.offset + tensor.span > numel:
    return f'does not lie within its storage of {numel} elements'
  # Sizes beside a 0 allocate nothing, but NumPy multiplies them.
  size = math.prod(max(n, 1) for n in tensor.shape)
  if size > (2**56 if 0 in tensor.shape else numel):
    return f'has more elements than its storage, {numel}'
  return None
