"""Charts as inline SVG and HTML, coloured by the style sheet of the page.

Series and phases have the classes c0, c1, ... in the order they are given.
"""

from collections.abc import Mapping, Sequence
import html
import math

Curve = Sequence[tuple[int, float]]

COLOURS = 9
WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 40


def line_chart(title: str, series: Mapping[str, Curve]) -> str:
  """A figure of curves over steps, each named with its last value.

  The value axis is logarithmic where positive values span a factor above 20.
  Values that are not finite are left out; so is a series of nothing else.

  Args:
    title: Printed above the chart.
    series: (step, value) pairs by name.

  Returns:
    An HTML figure, or '' where there is nothing to draw.
  """
  kept = {
      name: [(s, float(v)) for s, v in curve if math.isfinite(v)]
      for name, curve in series.items()
  }
  kept = {name: curve for name, curve in kept.items() if curve}
  if not kept:
    return ''
  steps = [s for curve in kept.values() for s, _ in curve]
  values = [v for curve in kept.values() for _, v in curve]
  low, high = min(values), max(values)
  logarithmic = low > 0 and high / low > 20
  # Without margins a flat curve would have no scale.
  if low == high:
    low, high = low - abs(low or 1) / 10, high + abs(high or 1) / 10
  first, last = min(steps), max(max(steps), min(steps) + 1)

  def x(step):
    share = (step - first) / (last - first)
    return LEFT + share * (WIDTH - LEFT - RIGHT)

  def y(value):
    if logarithmic:
      share = math.log(value / low) / math.log(high / low)
    else:
      share = (value - low) / (high - low)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

  x_ticks = [t for t in linear_ticks(first, last) if t == round(t)]
  y_ticks = log_ticks(low, high) if logarithmic else linear_ticks(low, high)
  lines = [
      _polyline(i, [(x(s), y(v)) for s, v in curve])
      for i, curve in enumerate(kept.values())
  ]
  axis = 'over steps, logarithmic' if logarithmic else 'over steps'
  return (
      f'<figure class="chart"><figcaption><b>{html.escape(title)}</b>'
      f' <small>{axis}</small></figcaption>'
      f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
      f' aria-label="{html.escape(title)}, {axis}">'
      + ''.join(_y_tick(y(t), number(t)) for t in y_ticks)
      + ''.join(_x_tick(x(t), number(t)) for t in x_ticks)
      + ''.join(lines)
      + f'</svg>{_legend({n: number(c[-1][1]) for n, c in kept.items()})}'
      '</figure>'
  )


def share_bar(seconds: Mapping[str, float]) -> str:
  """A horizontal bar of phases, as wide as each is long, and their table."""
  total = sum(seconds.values())
  bar, rows = [], []
  for i, (name, spent) in enumerate(seconds.items()):
    colour = f'c{i % COLOURS}'
    share = spent / total if total else 0
    label = f'{html.escape(name)}: {duration(spent)}'
    bar.append(
        f'<i class="{colour}" style="flex-grow:{share:.5f}"'
        f' title="{label}"></i>'
    )
    rows.append(
        f'<tr><th scope="row"><i class="swatch {colour}"></i>'
        f'{html.escape(name)}</th><td>{duration(spent)}</td>'
        f'<td>{share:.0%}</td></tr>'
    )
  return (
      f'<div class="shares">{"".join(bar)}</div>'
      f'<table class="phases">{"".join(rows)}</table>'
  )


def frequency_strip(counts: Sequence[int]) -> str:
  """Bars of how often each code is used, most used first: int[K] -> SVG.

  A dashed line marks the height of equal use.
  """
  ordered = sorted((int(c) for c in counts), reverse=True)
  if not ordered or not ordered[0]:
    return ''
  width, height = 960, 150
  step = width / len(ordered)
  gap = 0.15 * step if step > 2 else 0
  bars = ''.join(
      f'<rect x="{i * step:.2f}" y="{height * (1 - c / ordered[0]):.2f}"'
      f' width="{step - gap:.2f}" height="{height * c / ordered[0]:.2f}"/>'
      for i, c in enumerate(ordered)
      if c
  )
  even = height * (1 - sum(ordered) / len(ordered) / ordered[0])
  return (
      f'<svg class="strip" viewBox="0 0 {width} {height}" role="img"'
      ' preserveAspectRatio="none" aria-label="Use of each code, most used'
      f' first">{bars}<line class="even" x1="0" x2="{width}" y1="{even:.2f}"'
      f' y2="{even:.2f}"/></svg>'
  )


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
  """Powers of ten in [low, high]; up to 3 decades 2 and 5 times them too."""
  wide = math.log10(high / low) > 3
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  ticks = (m * 10.0**p for p in powers for m in ((1,) if wide else (1, 2, 5)))
  return [t for t in ticks if low <= t <= high]


def number(value: float) -> str:
  """A number in at most four significant digits, as people write it.

  >>> number(0.25), number(1200), number(0.00002)
  ('0.25', '1200', '2e-05')
  """
  size = abs(value)
  if size >= 1000:
    return f'{value:.0f}' if size < 1e6 else f'{value:.3g}'
  return f'{value:.4g}' if size >= 1 else f'{value:.3g}'


def duration(seconds: float) -> str:
  """Seconds as people say them: 0.4 s, 42 s, 3 min 05 s, 1 h 02 min."""
  if seconds < 9.95:
    return f'{seconds:.1f} s'
  whole = round(seconds)
  if whole < 60:
    return f'{whole} s'
  if whole < 3600:
    return f'{whole // 60} min {whole % 60:02d} s'
  minutes = round(seconds / 60)
  return f'{minutes // 60} h {minutes % 60:02d} min'


def _legend(values: Mapping[str, str]) -> str:
  items = (
      f'<li><i class="swatch c{i % COLOURS}"></i>{html.escape(name)}'
      f' <b>{value}</b></li>'
      for i, (name, value) in enumerate(values.items())
  )
  return f'<ul class="legend">{"".join(items)}</ul>'


def _polyline(index: int, points: Sequence[tuple[float, float]]) -> str:
  colour = f'c{index % COLOURS}'
  joined = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
  x, y = points[-1]
  return (
      f'<polyline class="{colour}" points="{joined}"/>'
      f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
  )


def _y_tick(y: float, label: str) -> str:
  return (
      f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}"'
      f' y2="{y:.1f}"/><text x="{LEFT - 8}" y="{y + 4:.1f}"'
      f' text-anchor="end">{label}</text>'
  )


def _x_tick(x: float, label: str) -> str:
  foot = HEIGHT - BOTTOM
  return (
      f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{foot + 4}"'
      f' y2="{foot + 9}"/><text x="{x:.1f}" y="{foot + 25}"'
      f' text-anchor="middle">{label}</text>'
  )
