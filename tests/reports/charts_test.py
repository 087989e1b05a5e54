"""Charts place points, ticks and shares where arithmetic predicts them."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from rq_jax.reports import charts

SVG = '{http://www.w3.org/2000/svg}'
PLOT_LEFT, PLOT_RIGHT = charts.PAGE.left, charts.PAGE.width - charts.PAGE.right
PLOT_TOP, PLOT_FOOT = charts.PAGE.top, charts.PAGE.foot


def _points(chart):
  """The points of all lines: a list of float[n, 2]."""
  return [
      np.array([p.split(',') for p in line.split()], float)
      for line in re.findall(r'points="([^"]*)"', chart)
  ]


def test_a_line_spans_the_plot_and_is_linear_between():
  (points,) = _points(
      charts.line_chart('t', {'a': [(0, 1.0), (25, 2.0), (100, 5.0)]})
  )
  width, height = PLOT_RIGHT - PLOT_LEFT, PLOT_FOOT - PLOT_TOP
  expected = [
      (PLOT_LEFT, PLOT_FOOT),
      (PLOT_LEFT + width / 4, PLOT_FOOT - height / 4),
      (PLOT_RIGHT, PLOT_TOP),
  ]
  np.testing.assert_allclose(points, expected, atol=0.051)


def test_values_of_several_decades_are_drawn_on_a_logarithmic_axis():
  chart = charts.line_chart('t', {'a': [(0, 1.0), (1, 0.1), (2, 0.01)]})
  (points,) = _points(chart)
  middle = (PLOT_TOP + PLOT_FOOT) / 2
  np.testing.assert_allclose(points[1, 1], middle, atol=0.051)
  assert 'logarithmic' in chart
  linear = charts.line_chart('t', {'a': [(0, 1.0), (1, -0.1), (2, 0.01)]})
  assert 'logarithmic' not in linear and 'over steps' in linear


def test_the_axis_of_a_line_chart_can_count_something_else():
  chart = charts.line_chart('t', {'a': [(0, 1.0), (8, 2.0)]}, over='images')
  assert 'over images' in chart and 'steps' not in chart


def test_series_share_one_scale_and_keep_their_order():
  first, second = _points(
      charts.line_chart('t', {'a': [(0, 0.0), (10, 1.0)], 'b': [(5, 0.5)]})
  )
  np.testing.assert_allclose(second[0], first.mean(axis=0), atol=0.051)


def test_values_that_are_not_finite_are_left_out():
  curve = [(0, 1.0), (1, math.nan), (2, math.inf), (3, 3.0)]
  chart = charts.line_chart('t', {'a': curve, 'b': [(0, math.nan)]})
  assert [len(points) for points in _points(chart)] == [2]
  assert 'nan' not in chart and 'inf' not in chart
  assert charts.line_chart('t', {'b': [(0, math.nan)]}) == ''


@pytest.mark.parametrize('value', [0.0, 3.0, -2.0])
def test_a_flat_curve_lies_in_the_middle(value):
  (points,) = _points(charts.line_chart('t', {'a': [(7, value), (9, value)]}))
  middle = (PLOT_TOP + PLOT_FOOT) / 2
  np.testing.assert_allclose(points[:, 1], middle, atol=0.051)


def test_a_single_point_is_drawn():
  (points,) = _points(charts.line_chart('t', {'a': [(7, 1.0)]}))
  assert points[0, 0] == PLOT_LEFT


def test_steps_are_counted_in_whole_numbers():
  chart = charts.line_chart('t', {'a': [(7, 1.0), (9, 2.0)]})
  labels = re.findall(r'text-anchor="middle">([^<]*)<', chart)
  assert labels == ['7', '8', '9']


def test_shares_are_as_wide_as_the_phases_are_long():
  bar = charts.share_bar({'a': 1.0, 'b': 3.0})
  shares = re.findall(r'flex-grow:([\d.]+)', bar)
  assert [float(share) for share in shares] == [0.25, 0.75]
  assert '<td>3.0 s</td><td>75%</td>' in bar


def test_codes_are_sorted_by_use_over_a_line_of_equal_use():
  strip = charts.frequency_strip([2, 0, 8, 6])
  heights = re.findall(r'height="([\d.]+)"', strip)
  assert [float(h) for h in heights] == [150, 112.5, 37.5]
  # The mean of 4 is half of the highest bar.
  assert 'y1="75.00"' in strip
  assert charts.frequency_strip([0, 0]) == charts.frequency_strip([]) == ''


def panels(curves):
  """Each panel of a chart as (polylines, heights of numbers at the y axis)."""
  root = ElementTree.fromstring(charts.panels(curves, 'scale'))
  for panel in root.iter(f'{SVG}g'):
    lines = [
        np.array([p.split(',') for p in line.get('points').split()], float)
        for line in panel.iter(f'{SVG}polyline')
    ]
    heights = {
        float(text.text): float(text.get('y')) - 4
        for text in panel.iter(f'{SVG}text')
        if text.get('text-anchor') == 'end'
    }
    yield lines, heights


def test_curves_pass_through_their_points_between_the_ticks():
  curves = {
      'one': {'a': [(1, 0.5), (2, 1.0), (4, 0.75)], 'b': [(1, 0.6), (4, 0.6)]},
      'two': {'a': [(1, 10.0), (4, 20.0)], 'b': [(1, 12.0), (4, 11.0)]},
  }
  drawn = list(panels(curves))
  assert len(drawn) == 2
  for (lines, ticks), series in zip(drawn, curves.values()):
    low, high = min(ticks), max(ticks)
    slope = (ticks[high] - ticks[low]) / (high - low)
    for line, curve in zip(lines, series.values(), strict=True):
      x, y = np.array(curve).T
      np.testing.assert_allclose(
          line[:, 1], ticks[low] + (y - low) * slope, atol=0.2
      )
      steps = np.diff(line[:, 0]) / np.diff(x)
      np.testing.assert_allclose(steps, steps[0], atol=0.2)


def test_a_chart_names_its_panels_series_and_axis():
  text = charts.panels({'Left': {'step 1': [(0, 1.0), (1, 2.0)]}}, 'scale')
  words = [e.text for e in ElementTree.fromstring(text).iter(f'{SVG}text')]
  assert words[0] == 'step 1'
  assert {'Left', 'scale'} <= set(words)


def test_a_chart_of_panels_colours_its_series_and_bears_any_name():
  evil = '<b>&"'
  curves = {evil: {evil: [(0, 1.0), (1, 2.0)], 'b': [(0, 3.0), (1, 3.0)]}}
  root = ElementTree.fromstring(charts.panels(curves, evil))
  words = [text.text for text in root.iter(f'{SVG}text')]
  assert words.count(evil) == 3
  style = root.find(f'{SVG}style').text
  colours = dict(re.findall(r'\.(c\d)\{color:(#[0-9a-f]{6})\}', style))
  lines = [line.get('class') for line in root.iter(f'{SVG}polyline')]
  dots = [dot.get('class') for dot in root.iter(f'{SVG}circle')]
  assert lines == ['c0', 'c1']
  # One dot is in the legend, and one at each point.
  assert [dots.count(name) for name in lines] == [3, 3]
  assert len(set(colours[name] for name in lines)) == 2


def test_only_the_last_point_of_a_line_on_a_page_is_marked():
  chart = charts.line_chart('t', {'a': [(0, 0.0), (4, 3.0), (8, 2.0)]})
  (points,) = _points(chart)
  dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart)
  np.testing.assert_array_equal(np.array(dots, float), points[-1:])
