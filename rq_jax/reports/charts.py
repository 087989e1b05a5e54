"""Charts as SVG and HTML: curves, shares and frequencies.

Series and phases have the CSS classes c0, c1, ... in the given order. The style
sheet of a page colours them. `panels` makes files with their own style sheet.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import html
import math

from rq_jax.reports import numerals

Curve = Sequence[tuple[float, float]]

COLOURS = 9
_INK = ('#bc4c00', '#0969da')  # Colours of the series of `panels`.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
  """Where the axes of a chart lie in its SVG, in SVG units.

  Attributes:
    width: Width of the whole chart.
    height: Height of the whole chart.
    left: Left margin, with the numbers of the y axis.
    right: Right margin.
    top: Top margin, with the title if the SVG contains it.
    bottom: Bottom margin, with the numbers of the x axis.
    tick: Length of the tick marks of the x axis; 0 draws none.
    dot: Radius of marked points.
  """

  width: int
  height: int
  left: int
  right: int
  top: int
  bottom: int
  tick: int
  dot: float

  @property
  def foot(self) -> int:
    """The y coordinate of the x axis."""
    return self.height - self.bottom


PAGE = Frame(
    width=480, height=250, left=48, right=12, top=10, bottom=40, tick=5, dot=3
)
PANEL = Frame(
    width=380, height=280, left=52, right=16, top=66, bottom=46, tick=0, dot=3.5
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Axis:
  """An axis that maps values from low to high to places from start to end."""

  low: float
  high: float
  start: float
  end: float
  logarithmic: bool = False

  def place(self, value: float) -> float:
    if self.logarithmic:
      share = math.log(value / self.low) / math.log(self.high / self.low)
    else:
      share = (value - self.low) / (self.high - self.low)
    return self.start + share * (self.end - self.start)

  def ticks(self) -> list[float]:
    find = numerals.log_ticks if self.logarithmic else numerals.linear_ticks
    return find(self.low, self.high)


def line_chart(
    title: str, series: Mapping[str, Curve], over: str = 'steps'
) -> str:
  """Draws curves over whole numbers; the legend shows the last value of each.

  The value axis is logarithmic if all values are positive and span a factor
  above 20. Values that are not finite are left out, and so is a series without
  finite values.

  Args:
    title: Title above the chart.
    series: Curves by name, as (step, value) pairs.
    over: What the whole numbers count.

  Returns:
    An HTML figure, or '' if there is nothing to draw.
  """
  kept = {
      name: [(s, float(v)) for s, v in curve if math.isfinite(v)]
      for name, curve in series.items()
  }
  kept = {name: curve for name, curve in kept.items() if curve}
  if not kept:
    return ''
  (first, last), (low, high) = _ranges(kept.values())
  x = _x_axis(PAGE, first, max(last, first + 1))
  y = _y_axis(PAGE, low, high, logarithmic=low > 0 and high / low > 20)
  drawn = _axes(PAGE, x, y, [t for t in x.ticks() if t == round(t)])
  for i, curve in enumerate(kept.values()):
    drawn += _polyline(PAGE, i, x, y, curve, marked=curve[-1:])
  axis = f'over {over}, logarithmic' if y.logarithmic else f'over {over}'
  legend = {name: numerals.number(c[-1][1]) for name, c in kept.items()}
  return (
      f'<figure class="chart"><figcaption><b>{html.escape(title)}</b>'
      f' <small>{axis}</small></figcaption>'
      f'<svg viewBox="0 0 {PAGE.width} {PAGE.height}" role="img"'
      f' aria-label="{html.escape(title)}, {axis}">'
      f'{drawn}</svg>{_legend(legend)}</figure>'
  )


def panels(figures: Mapping[str, Mapping[str, Curve]], axis: str) -> str:
  """An SVG file of charts side by side that share their series and x axis.

  Args:
    figures: Title of a chart -> name of a series -> points (x, y) of the
      series. There are colours for at most two series.
    axis: Name of the x axis.
  """
  names = list(next(iter(figures.values())))
  width = PANEL.width * len(figures)
  drawn = [
      f'<g transform="translate({PANEL.width * i} 0)">'
      f'{_panel(title, lines, axis)}</g>'
      for i, (title, lines) in enumerate(figures.items())
  ]
  legend = ''.join(
      f'<circle class="c{i}" cx="{PANEL.left + 5 + 100 * i}" cy="22" r="5"/>'
      f'<text x="{PANEL.left + 16 + 100 * i}" y="26">{html.escape(name)}</text>'
      for i, name in enumerate(names)
  )
  colours = ''.join(f'.c{i}{{color:{c}}}' for i, c in enumerate(_INK))
  return (
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}"'
      f' height="{PANEL.height}" viewBox="0 0 {width} {PANEL.height}"'
      ' font-family="sans-serif" font-size="13" fill="#333">'
      '<style>polyline{fill:none;stroke:currentColor;stroke-width:2}'
      f'circle{{fill:currentColor}}.rule{{stroke:#ddd}}{colours}</style>'
      # Pages may be dark, so the chart has a white background.
      '<rect width="100%" height="100%" rx="8" fill="#fff"/>'
      f'{legend}{"".join(drawn)}</svg>\n'
  )


def _panel(title: str, series: Mapping[str, Curve], axis: str) -> str:
  (first, last), (low, high) = _ranges(series.values())
  x = _x_axis(PANEL, first, last)
  ticks = numerals.linear_ticks(low, high)
  # The x axis lies at a tick below the lowest point.
  y = _y_axis(PANEL, min(low, 2 * ticks[0] - ticks[1]), high)
  return (
      f'<text x="{PANEL.left}" y="{PANEL.top - 14}" font-weight="bold">'
      f'{html.escape(title)}</text>'
      f'<text x="{(x.start + x.end) / 2}" y="{PANEL.height - 8}"'
      f' text-anchor="middle">{html.escape(axis)}</text>'
      + _axes(PANEL, x, y, x.ticks())
      + ''.join(
          _polyline(PANEL, i, x, y, curve, marked=curve)
          for i, curve in enumerate(series.values())
      )
  )


def share_bar(seconds: Mapping[str, float]) -> str:
  """An HTML bar of phases, each as wide as it is long, and a table of them."""
  total = sum(seconds.values())
  bar, rows = [], []
  for i, (name, spent) in enumerate(seconds.items()):
    colour = f'c{i % COLOURS}'
    share = spent / total if total else 0
    label = f'{html.escape(name)}: {numerals.duration(spent)}'
    bar.append(
        f'<i class="{colour}" style="flex-grow:{share:.5f}"'
        f' title="{label}"></i>'
    )
    rows.append(
        f'<tr><th scope="row"><i class="swatch {colour}"></i>'
        f'{html.escape(name)}</th><td>{numerals.duration(spent)}</td>'
        f'<td>{share:.0%}</td></tr>'
    )
  return (
      f'<div class="shares">{"".join(bar)}</div>'
      f'<table class="phases">{"".join(rows)}</table>'
  )


def frequency_strip(counts: Sequence[int]) -> str:
  """Draws a bar for the use of each code, most used first: int[K] -> SVG.

  A dashed line marks the height of equal use. Returns '' if no code is used.
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


def _legend(values: Mapping[str, str]) -> str:
  items = (
      f'<li><i class="swatch c{i % COLOURS}"></i>{html.escape(name)}'
      f' <b>{value}</b></li>'
      for i, (name, value) in enumerate(values.items())
  )
  return f'<ul class="legend">{"".join(items)}</ul>'


def _ranges(curves: Iterable[Curve]) -> list[tuple[float, float]]:
  """The smallest and largest x, and the smallest and largest y.

  A flat curve gets margins, because an axis of length 0 would have no scale.
  """
  xs, ys = zip(*(point for curve in curves for point in curve))
  low, high = min(ys), max(ys)
  if low == high:
    low, high = low - abs(low or 1) / 10, high + abs(high or 1) / 10
  return [(min(xs), max(xs)), (low, high)]


def _x_axis(frame: Frame, low: float, high: float) -> _Axis:
  end = frame.width - frame.right
  return _Axis(low=low, high=high, start=frame.left, end=end)


def _y_axis(
    frame: Frame, low: float, high: float, *, logarithmic: bool = False
) -> _Axis:
  return _Axis(
      low=low,
      high=high,
      start=frame.foot,
      end=frame.top,
      logarithmic=logarithmic,
  )


def _polyline(
    frame: Frame, index: int, x: _Axis, y: _Axis, curve: Curve, *, marked: Curve
) -> str:
  """Draws a curve, with dots at the points in `marked`."""
  colour = f'c{index % COLOURS}'
  joined = ' '.join(f'{x.place(a):.1f},{y.place(b):.1f}' for a, b in curve)
  dots = (
      f'<circle class="{colour}" cx="{x.place(a):.1f}" cy="{y.place(b):.1f}"'
      f' r="{frame.dot}"/>'
      for a, b in marked
  )
  return f'<polyline class="{colour}" points="{joined}"/>{"".join(dots)}'


def _axes(frame: Frame, x: _Axis, y: _Axis, x_ticks: Sequence[float]) -> str:
  """Draws grid lines of the y axis, ticks of the x axis, and their numbers."""
  parts = [
      f'<line class="rule" x1="{x.start}" x2="{x.end}" y1="{y.place(t):.1f}"'
      f' y2="{y.place(t):.1f}"/><text x="{x.start - 8}"'
      f' y="{y.place(t) + 4:.1f}" text-anchor="end">{numerals.number(t)}</text>'
      for t in y.ticks()
  ]
  top = frame.foot + 4
  for t in x_ticks:
    if frame.tick:
      parts.append(
          f'<line class="axis" x1="{x.place(t):.1f}" x2="{x.place(t):.1f}"'
          f' y1="{top}" y2="{top + frame.tick}"/>'
      )
    parts.append(
        f'<text x="{x.place(t):.1f}" y="{top + frame.tick + 16}"'
        f' text-anchor="middle">{numerals.number(t)}</text>'
    )
  return ''.join(parts)
