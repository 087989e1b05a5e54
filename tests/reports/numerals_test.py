"""Ticks are round numbers, and numbers and durations are short."""

import numpy as np
import pytest

from rq_jax.reports import numerals


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
  np.testing.assert_allclose(
      numerals.linear_ticks(low, high), ticks, atol=1e-12
  )


def test_log_ticks_thin_out_over_many_decades():
  np.testing.assert_allclose(
      numerals.log_ticks(0.04, 1.2), [0.05, 0.1, 0.2, 0.5, 1]
  )
  np.testing.assert_allclose(
      numerals.log_ticks(5e-5, 2), [1e-4, 1e-3, 1e-2, 0.1, 1]
  )


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
  assert numerals.number(value) == text


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
  assert numerals.duration(seconds) == text
