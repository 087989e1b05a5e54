"""The source files of the package, and their syntax trees."""

import ast
import functools
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'rq_jax'
FILES = sorted(PACKAGE.rglob('*.py'))


def name_of(file):
  """Dotted name of a module within the package, '__init__' for its root."""
  parts = file.relative_to(PACKAGE).with_suffix('').parts
  if parts[-1] == '__init__' and len(parts) > 1:
    parts = parts[:-1]
  return '.'.join(parts)


MODULES = {name_of(file): file for file in FILES}


@functools.cache
def parse(module):
  """The syntax tree of a module."""
  return ast.parse(MODULES[module].read_text())
