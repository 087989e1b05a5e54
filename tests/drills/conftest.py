"""Leaves drills out unless `-m drill` asks for them."""


def pytest_collection_modifyitems(config, items):
  if 'drill' in config.option.markexpr:
    return
  drills = [item for item in items if item.get_closest_marker('drill')]
  config.hook.pytest_deselected(items=drills)
  items[:] = [item for item in items if item not in drills]
