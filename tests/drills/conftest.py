"""Drills run only where they are asked for: `pytest -m drill tests/drills`."""

import pytest


def pytest_collection_modifyitems(config, items):
  if 'drill' in config.option.markexpr:
    return
  for item in items:
    if item.get_closest_marker('drill'):
      item.add_marker(pytest.mark.skip(reason='runs with -m drill'))
