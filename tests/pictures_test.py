"""The scripts in docs/ that draw pictures; needs no model."""

import importlib.util
import pathlib
import re
import types

import numpy as np

from rq_jax.reports import pictures

DOCS = pathlib.Path(__file__).resolve().parents[1] / 'docs'


def load(name):
  spec = importlib.util.spec_from_file_location(name, DOCS / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


drawn = load('pictures')
figures = load('sampling_figures')


def greys(*shape, seed=0):
  """Random images with three equal channels."""
  values = np.random.default_rng(seed).integers(0, 256, (*shape, 1), np.uint8)
  return values.repeat(3, axis=-1)


def test_every_cell_lies_enlarged_in_its_row_and_column():
  cells = greys(2, 3, 4, 4)
  picture = drawn.labelled(cells, ['first', 'second'], 'abc', scale=3)
  grid = picture[-(2 * 14 + 2) :, -(3 * 14 + 2) :]
  for row, column in np.ndindex(2, 3):
    top, left = 2 + 14 * row, 2 + 14 * column
    expected = np.kron(cells[row, column, ..., 0], np.ones((3, 3), np.uint8))
    np.testing.assert_array_equal(
        grid[top : top + 12, left : left + 12], expected
    )
  assert (grid[:2] == pictures.BORDER).all()


def test_names_are_written_beside_the_cells_they_name():
  cells = greys(3, 2, 16, 16)
  plain = drawn.labelled(cells)
  assert plain.shape == (3 * 34 + 2, 2 * 34 + 2)
  picture = drawn.labelled(cells, ['', 'name', ''], ['', 'x'])
  margins = picture != pictures.BORDER
  top, left = np.subtract(picture.shape, plain.shape)
  beside = np.flatnonzero(margins[top:, :left].any(axis=1))
  above = np.flatnonzero(margins[:top, left:].any(axis=0))
  assert beside.min() > 34 and beside.max() < 2 * 34
  assert abs(np.mean(above) - (34 + 2 + 16)) < 2
  assert not margins[:top, :left].any()
  np.testing.assert_array_equal(picture[top:, left:], plain)


def test_halves_begin_in_the_middle():
  lower, right = drawn.region('lower', 8), drawn.region('right', 8)
  assert lower[4:].all() and not lower[:4].any()
  assert right[:, 4:].all() and not right[:, :4].any()


def test_generated_digits_stand_in_the_column_of_their_class():
  labels = np.tile(np.arange(3), 6)
  images = greys(18, 32, 32)
  picture = drawn.generated(images, labels)
  caption = 26
  grid = picture[: len(picture) - caption, :]
  assert grid.shape[1] == 3 * 66 + 2
  for row, column in np.ndindex(5, 3):
    chosen = images[3 * row + column, ..., 0]
    top = len(grid) - (5 - row) * 66
    left = 2 + 66 * column
    np.testing.assert_array_equal(
        grid[top : top + 64, left : left + 64],
        np.kron(chosen, np.ones((2, 2), np.uint8)),
    )
  # Numbers above, and a sentence below.
  above = picture[: len(grid) - 5 * 66 - 2] != pictures.BORDER
  below = picture[-caption:] != pictures.BORDER
  assert all(above[:, 2 + 66 * c : 66 + 66 * c].any() for c in range(3))
  assert below.any()


def test_the_overview_shows_a_real_digit_its_codes_and_what_they_decode_to():
  class Tokenizer:
    model = types.SimpleNamespace(codebook_size=128)

    def encode(self, images):
      (self.image,) = images
      return np.arange(64).reshape(1, 4, 4, 4)

    def decode(self, codes):
      np.testing.assert_array_equal(codes.ravel(), np.arange(64))
      return 255 - self.image[None]

  tokenizer = Tokenizer()
  text = drawn.overview(tokenizer)
  example = next(
      x for x in drawn.digits.Digits('test') if x['label'] == drawn._OVERVIEW
  )
  np.testing.assert_array_equal(tokenizer.image, example['image'])
  greys = re.findall(r'rgb\((\d+),', text)
  small = example['image'][..., 0].reshape(8, 4, 8, 4).mean(axis=(1, 3)).ravel()
  np.testing.assert_allclose(np.int32(greys[:64]), small, atol=0.501)
  np.testing.assert_allclose(np.int32(greys[64:]), 255 - small, atol=0.501)
  assert all(f'>{code}</text>' in text for code in range(64))


def test_the_two_judges_share_no_digit_and_know_all_between_them(monkeypatch):
  seen = []
  monkeypatch.setattr(
      figures.digits, 'train_classifier', lambda *data: seen.append(data)
  )
  figures.judges(np.arange(7), np.arange(7) + 100)
  (first, _), (second, _) = seen
  assert not set(first) & set(second)
  assert set(first) | set(second) == set(range(7))
  for images_seen, labels_seen in seen:
    np.testing.assert_array_equal(labels_seen, images_seen + 100)


def test_a_score_is_that_of_the_label_asked_for():
  class Judge:

    def decision_function(self, features):
      return features[:, :3] * [1, 10, 100]

  batch = np.full((3, 8, 8, 3), 51, np.uint8)
  labels = np.array([2, 0, 1])
  scores = figures.score(Judge(), labels)(batch)
  np.testing.assert_allclose(scores, [20, 0.2, 2])


def test_guidance_is_measured_on_the_same_draws_in_chunks(monkeypatch):
  def sampler(key, *, labels, first_index, sampling):
    del key
    return np.stack(
        [
            labels,
            first_index + np.arange(len(labels)),
            np.full(len(labels), sampling.guidance),
        ],
        axis=1,
    )

  monkeypatch.setattr(
      figures.digits, 'figures', lambda drawn, labels: (drawn, labels)
  )
  found = figures.by_guidance({'a': sampler}, (), ())
  assert list(found['a']) == list(figures._SCALES)
  for scale, (drawn, labels) in found['a'].items():
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 100))
    np.testing.assert_array_equal(drawn[:, 0], labels)
    np.testing.assert_array_equal(drawn[:, 1], np.arange(1000))
    assert set(drawn[:, 2]) == {scale}


def test_the_judge_that_chooses_is_not_the_only_one_that_judges(monkeypatch):
  class Chosen:

    def __init__(self, images):
      self.images = images

  class Sampler:

    def best_of(self, key, n, score, labels):
      assert score == 'first' and len(labels) == 1000
      return Chosen(('best of', n))

    def rejection_sample(self, key, acceptance_rate, score, labels):
      assert score == 'first' and len(labels) == 1000
      return Chosen(('accepted', acceptance_rate))

  right = {'first': 0.3, 'second': 0.2, 'pupil': 0.1}
  spreads = {1: 0.9, 2: 0.8, 4: 0.7, 16: 0.6, 0.25: 0.5}
  monkeypatch.setattr(figures, 'judges', lambda *_: ('first', 'second'))
  monkeypatch.setattr(figures, 'score', lambda judge, _: judge)
  known = {
      'accuracy': lambda judge, *_: right[judge],
      'train_classifier': lambda *_: 'pupil',
      'diversity': lambda images, *_: (spreads[images[1]], None),
  }
  for name, function in known.items():
    monkeypatch.setattr(figures.digits, name, function)
  *rows, held_out = figures.by_choice(Sampler(), (0, 0), (0, 0))
  assert [row[1:] for row in rows] == [
      (drawn, 0.3, 0.2, spread, 0.1)
      for drawn, spread in zip(
          [1000, 2000, 4000, 16000, 4000], [0.9, 0.8, 0.7, 0.6, 0.5]
      )
  ]
  assert held_out[1:] == ('', 0.3, 0.2, '', '')


def test_a_table_is_markdown_with_three_decimals():
  written = figures.table(['a', 'b'], [['x', 0.12345], ['y', 7]])
  assert written == ('| a | b |\n| --- | --- |\n| x | 0.123 |\n| y | 7 |\n')
