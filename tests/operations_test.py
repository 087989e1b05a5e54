"""docs/operations.md quotes messages as the program prints them."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def _quoted():
  """The first column of the tables of messages, one alternative per item."""
  page = (ROOT / 'docs' / 'operations.md').read_text()
  part = page.partition('\n## Messages\n')[2].partition('\n## ')[0]
  cells = re.findall(r'^\| (.*?) \| ', part, re.M)
  skipped = ('message', 'reason')
  return [x for c in cells if c not in skipped for x in c.split(' / ')]


@pytest.fixture(scope='module')
def printed():
  """All strings of the package, without what their fields stand for."""
  trees = (ast.parse(p.read_text()) for p in (ROOT / 'rq_jax').rglob('*.py'))
  nodes = (node for tree in trees for node in ast.walk(tree))
  texts = (x.value for x in nodes if isinstance(x, ast.Constant))
  return '\n'.join(text for text in texts if isinstance(text, str))


@pytest.mark.parametrize('message', _quoted())
def test_the_program_prints_a_message_that_the_page_explains(message, printed):
  # Words in capitals, numbers and names of files are fields of a message.
  for fixed in re.split(r'\b[A-Z][A-Z_]*\b|\d+|\w+\.json', message):
    assert fixed.strip(' :=(),') in printed
