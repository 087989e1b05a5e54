"""Versions of packages, for reports and records."""

import importlib.metadata
import sys


def of(*names: str) -> dict[str, str]:
  """Versions by package name; rq_jax itself need not be installed."""
  own = __name__.partition('.')[0]
  return {
      name: sys.modules[own].__version__
      if name == own
      else importlib.metadata.version(name)
      for name in names
  }
