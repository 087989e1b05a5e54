"""Diagrams hold every pixel and every code, each in its place."""

import re
from xml.etree import ElementTree

import numpy as np

from rq_jax.reports import diagrams

SVG = '{http://www.w3.org/2000/svg}'
CODES = np.random.default_rng(0).integers(0, 100, (3, 4, 2))


def drawn():
  image = np.array([[0, 90], [180, 255]], np.uint8)
  return ElementTree.fromstring(
      diagrams.code_map(image, CODES, 255 - image, 100)
  )


def test_pixels_stand_in_rows_before_and_after_the_codes():
  pictures = []
  for group in drawn().iter(f'{SVG}g'):
    places = {}
    for square in group:
      place = float(square.get('x')), float(square.get('y'))
      (value,) = set(re.findall(r'\d+', square.get('fill')))
      places[place] = int(value)
    pictures.append(places)
  first, last = pictures
  (left, top), *_, (right, bottom) = sorted(first)
  assert [first[x, y] for y in (top, bottom) for x in (left, right)] == [
      0,
      90,
      180,
      255,
  ]
  # The reconstruction is the negative, further to the right.
  shift = min(last)[0] - left
  assert shift > 0
  assert last == {(x + shift, y): 255 - v for (x, y), v in first.items()}


def test_codes_stand_depth_by_depth_at_their_positions():
  numbers = {}
  for text in drawn().iter(f'{SVG}text'):
    if re.fullmatch(r'\d+', text.text):
      numbers[float(text.get('x')), float(text.get('y'))] = int(text.text)
  columns = sorted({x for x, _ in numbers})
  rows = sorted({y for _, y in numbers})
  table = [[numbers[x, y] for x in columns] for y in rows]
  np.testing.assert_array_equal(
      table, np.concatenate([CODES[..., 0], CODES[..., 1]], axis=1)
  )


def test_equal_codes_and_only_these_have_one_colour():
  codes = np.array([[[5, 9], [9, 5]]])
  text = diagrams.code_map(np.zeros((1, 1)), codes, np.zeros((1, 1)), 10)
  first, second, third, fourth = re.findall(r'hsl\((\d+)', text)
  assert first == fourth == '180'  # 5 of 10 codes: half of the circle.
  assert second == third == '324'
