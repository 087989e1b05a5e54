"""Versions of packages, as reports and records name them."""

import importlib.metadata
import sys


def of(*names: str) -> dict[str, str]:
  """Version by name of package; this one need not be installed."""
  own = __name__.partition('.')[0]
  return {
      name: sys.modules[own].__version__
      if name == own
      else importlib.metadata.version(name)
      for name in names
  }
