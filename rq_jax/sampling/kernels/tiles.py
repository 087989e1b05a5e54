"""Sizes of the blocks that one program of a kernel computes.

At few rows, a kernel is as fast as it reads its weights. So that it reads them
once, one program holds all rows where they fit, and 3 MB of loads must be under
way: 4.3 TB/s times 0.7 us from request to arrival. Each program therefore has
up to 48 KB of tiles per stage of its pipeline, in a shared memory of 227 KB.
"""

from typing import NamedTuple

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

_SMS = 132  # Multiprocessors of an H100 or H200.
STAGES = 4


class Tiles(NamedTuple):
  """Sizes of the blocks of a product [rows, summed] x [summed, columns].

  Attributes:
    rows: Rows of a program.
    columns: Columns of a program.
    summed: Rows of the kernel that a program reads at a time.
    warps: Groups of 32 threads of a program.
  """

  rows: int
  columns: int
  summed: int
  warps: int


def of_product(rows: int, kernel: jax.Array) -> Tiles:
  """Sizes for a product with a kernel [summed, columns]; powers of two.

  Columns are split until two thirds of the multiprocessors have a program, but
  not below 32, half of a line of the cache.
  """
  summed, columns = kernel.shape
  height = power_of_two(rows, least=16, most=128)
  blocks = pl.cdiv(rows, height)
  for most in (128, 64, 32):
    width = divisor(columns, most)
    if blocks * columns // width >= _SMS * 2 // 3:
      break
  step = of_stage(summed, height + width, kernel.dtype)
  return Tiles(height, width, step, 8 if height * width > 64 * 64 else 4)


def of_stage(
    summed: int, columns: int, dtype: jnp.dtype, *, most: int = 48 * 1024
) -> int:
  """Rows of kernels that a program reads at a time, a power of two.

  Args:
    summed: Rows of the kernels.
    columns: Columns that are read, of kernels and of transposed rows.
    dtype: Dtype of the numbers.
    most: Bytes of a stage.
  """
  # Tensor cores read shared memory; products of float32 fill the registers.
  limit = 32 if dtype == jnp.float32 else 256
  return divisor(summed, min(most // dtype.itemsize // columns, limit))


def of_heads(rows: int, heads: int) -> int:
  """Rows of a program that computes one head of the attention.

  A program attends to the keys of all its rows at once, so it takes few rows
  unless there would be more programs than multiprocessors.
  """
  for height in (16, 32, 64):
    if pl.cdiv(rows, height) * heads <= _SMS:
      return height
  return 64


def power_of_two(size: int, *, least: int, most: int) -> int:
  """The smallest power of two that is at least `size`, between two bounds."""
  return min(max(pl.next_power_of_2(size), least), most)


def divisor(size: int, most: int) -> int:
  """The largest power of two that divides `size` and is at most `most`."""
  found = size & -size
  while found > most:
    found //= 2
  return found
