"""Descriptions of PyTorch tensors in a file, and their types."""

import dataclasses
import math

import ml_dtypes
import numpy as np

# Names of PyTorch's classes of storages, and the types of their elements.
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

# The limit of NumPy before 2.0, so that any NumPy can read the files.
MAX_DIMENSIONS = 32


@dataclasses.dataclass(frozen=True)
class Storage:
  """One-dimensional memory that tensors are views of."""

  key: str
  dtype: np.dtype
  numel: int


@dataclasses.dataclass(frozen=True)
class LazyTensor:
  """A tensor in a file, whose values are not read yet.

  Attributes:
    dtype: Type of the elements in NumPy; bfloat16 is the type of ml_dtypes.
    shape: Shape, as in PyTorch.
    stride: Number of elements from one index to the next, for each dimension.
    offset: Number of elements in the storage before the tensor's first one.
    storage: Key of the storage, which several tensors may share.
  """

  dtype: np.dtype
  shape: tuple[int, ...]
  stride: tuple[int, ...]
  offset: int
  storage: str

  @property
  def nbytes(self) -> int:
    """Bytes of all elements."""
    return math.prod(self.shape) * self.dtype.itemsize

  @property
  def span(self) -> int:
    """Elements of the storage from the tensor's first to its last one."""
    if 0 in self.shape:
      return 0
    pairs = zip(self.shape, self.stride)
    return 1 + sum((size - 1) * stride for size, stride in pairs)


def misfit(tensor: LazyTensor, numel: int) -> str | None:
  """Why a tensor cannot be a view of a storage of `numel` elements, or None."""
  if len(tensor.shape) != len(tensor.stride):
    return 'has more sizes than strides, or fewer'
  if len(tensor.shape) > MAX_DIMENSIONS:
    return f'has {len(tensor.shape)} dimensions'
  if min((*tensor.shape, *tensor.stride, tensor.offset)) < 0:
    return 'has a negative size, stride or offset'
  if tensor.offset + tensor.span > numel:
    return f'does not lie within its storage of {numel} elements'
  # A tensor with a size of 0 allocates nothing, but NumPy multiplies its sizes.
  size = math.prod(max(n, 1) for n in tensor.shape)
  if size > (2**56 if 0 in tensor.shape else numel):
    return f'has more elements than its storage, {numel}'
  return None
