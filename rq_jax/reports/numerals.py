"""Formats numbers for people: on axes, in tables, as durations."""

import math


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
  """Round numbers in [low, high], 1, 2 or 5 times a power of ten apart."""
  rough = (high - low) / most
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(
      m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9)
  )
  first = math.ceil(low / step - 1e-9)
  final = math.floor(high / step + 1e-9)
  return [i * step for i in range(first, final + 1)]


def log_ticks(low: float, high: float) -> list[float]:
  """Powers of ten in [low, high]; over at most 3 decades also times 2 and 5."""
  wide = math.log10(high / low) > 3
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  ticks = (m * 10.0**p for p in powers for m in ((1,) if wide else (1, 2, 5)))
  return [t for t in ticks if low <= t <= high]


def number(value: float) -> str:
  """Formats a number for people, in three or four significant digits.

  Numbers from 1000 to a million are rounded to integers.

  >>> number(0.25), number(1200), number(0.00002)
  ('0.25', '1200', '2e-05')
  """
  size = abs(value)
  if size >= 1000:
    return f'{value:.0f}' if size < 1e6 else f'{value:.3g}'
  return f'{value:.4g}' if size >= 1 else f'{value:.3g}'


def duration(seconds: float) -> str:
  """Formats a duration: 0.4 s, 42 s, 3 min 05 s, 1 h 02 min."""
  if seconds < 9.95:
    return f'{seconds:.1f} s'
  whole = round(seconds)
  if whole < 60:
    return f'{whole} s'
  if whole < 3600:
    return f'{whole // 60} min {whole % 60:02d} s'
  minutes = round(seconds / 60)
  return f'{minutes // 60} h {minutes % 60:02d} min'
