"""The table of data sources: one row for each file of `data/sources/`."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceRow:
  """What experiments need to know of a source before it is opened.

  Attributes:
    provides: Names of the arrays in an example, see `data.sources`.
    needs_path: Whether `data.path` must be set.
  """

  provides: tuple[str, ...]
  needs_path: bool


# By the name of the module in `data/sources/`, which is `data.source`, too.
SOURCES = {
    'digits': SourceRow(provides=('image', 'label'), needs_path=False),
    'image_folder': SourceRow(provides=('image', 'label'), needs_path=True),
    'features': SourceRow(provides=('features', 'label'), needs_path=True),
}


def providing(name: str) -> str:
  """Names of the sources that provide an array, for messages."""
  found = [key for key, row in SOURCES.items() if name in row.provides]
  return ' or '.join(repr(key) for key in found) or 'none yet'
