"""What other tools and 50-digit arithmetic make of `metric_inputs`."""

import functools
import json

from tests import official


@functools.cache
def tools():
  """Values by metric, case and tool."""
  return _read('tools')


@functools.cache
def exact():
  """Values by metric and case, from 50-digit arithmetic."""
  return _read('exact')


def _read(name):
  file = official.FIXTURES / 'metrics' / f'{name}.json'
  return json.loads(file.read_text())
