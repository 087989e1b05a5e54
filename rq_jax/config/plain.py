"""Experiments as plain dictionaries, where ml_collections is not installed."""

from collections.abc import Mapping
from typing import Any


class PlainConfig(dict):
  """What configuration files use of a ConfigDict: fields read as attributes.

  It accepts any name and value: `experiment.parse` checks them later.
  """

  def __getattr__(self, name: str) -> Any:
    try:
      return self[name]
    except KeyError as error:
      raise AttributeError(name) from error

  def __setattr__(self, name: str, value: Any) -> None:
    self[name] = value

  def update(self, *others: Mapping[str, Any], **values: Any) -> None:
    """Sets fields; those of sections that are given as dictionaries, too."""
    for other in (*others, values):
      for name, value in other.items():
        if isinstance(value, Mapping) and name in self:
          self[name].update(value)
        else:
          self[name] = value

  def to_dict(self) -> dict[str, Any]:
    """The fields as nested dictionaries."""
    return {
        name: value.to_dict() if isinstance(value, PlainConfig) else value
        for name, value in self.items()
    }
