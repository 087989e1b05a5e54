"""Charts place points, ticks and shares where arithmetic says."""

import math
import re

import numpy as np
import pytest

from rq_jax.reports import charts

PLOT_LEFT, PLOT_RIGHT = charts.LEFT, charts.WIDTH - charts.RIGHT
PLOT_TOP, PLOT_FOOT = charts.TOP, charts.HEIGHT - charts.BOTTOM


def _points(chart):
  """The points of every line: a list of float[n, 2]."""
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
  assert 'logarithmic' not in linear


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


@pytest.mark.parametrize(
    ('low', 'high', 'ticks'),
    [
        (0, 600, [0, 100, 200, 300, 400, 500, 600]),
        (1.9, 4.9, [2, 2.5, 3, 3.5, 4, 4.5]),
        (-0.1, 0.3, [-0.1, 0, 0.1, 0.2, 0.3]),
        (0.0012, 0.0031, [0.0015, 0.002, 0.0025, 0.003]),
    ],
)
def test_linear_ticks_are_round_and_inside(low, high, ticks):
  np.testing.assert_allclose(charts.linear_ticks(low, high), ticks, atol=1e-12)


def test_log_ticks_thin_out_over_many_decades():
  np.testing.assert_allclose(
      charts.log_ticks(0.04, 1.2), [0.05, 0.1, 0.2, 0.5, 1]
  )
  np.testing.assert_allclose(
      charts.log_ticks(5e-5, 2), [1e-4, 1e-3, 1e-2, 0.1, 1]
  )


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


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (0, '0'),
        (0.25, '0.25'),
        (0.30000000000000004, '0.3'),
        (0.0034512, '0.00345'),
        (2.57749, '2.577'),
        (1200, '1200'),
        (123456, '123456'),
        (2500000, '2.5e+06'),
    ],
)
def test_numbers_are_short(value, text):
  assert charts.number(value) == text


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0.44, '0.4 s'),
        (9.96, '10 s'),
        (59.4, '59 s'),
        (59.6, '1 min 00 s'),
        (185, '3 min 05 s'),
        (3720, '1 h 02 min'),
        (7199, '2 h 00 min'),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
  assert charts.duration(seconds) == text
