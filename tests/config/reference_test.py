"""docs/config.md is up to date, and terminals show the same fields."""

import pathlib

from rq_jax import config
from rq_jax.config import experiment
from rq_jax.config import reference
from rq_jax.config import schema

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'config.md'


def test_the_page_is_what_the_declarations_say():
  assert (
      PAGE.read_text() == reference.markdown()
  ), 'run: python -m rq_jax.config.reference > docs/config.md'


def test_the_page_has_a_row_for_every_field():
  page = reference.markdown()
  for kind in experiment.KINDS.values():
    for name, known in schema.walk(kind).items():
      if name != 'stage':
        assert f'| `{name}` |' in page
        assert known.declaration.meaning in page


def test_a_terminal_shows_values_meanings_and_ranges():
  text = reference.listing(
      config.parse({'stage': 1, 'optimizer': {'peak_lr': 0.5}})
  )
  lines = text.splitlines()
  row = lines.index('  --config.optimizer.peak_lr=0.5')
  meaning = (
      'Learning rate at the end of the warm-up. A number; must be positive.'
  )
  assert lines[row + 1] == f'      {meaning}'
  assert '  --config.model.code_shape=8,8,4' in lines
  assert not any('stage=' in line for line in lines)
  assert max(map(len, lines)) <= 80
