"""The table of data sources, with one row per source in `data/sources/`."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceRow:
  """Properties of a source that are known before it is opened.

  Attributes:
    provides: Names of the arrays in an example; see `data.sources`.
    needs_path: Whether `data.path` must be set.
    reads: Those of the fields in `SOME_READ` that the source reads.
  """

  provides: tuple[str, ...]
  needs_path: bool
  reads: tuple[str, ...] = ()


# Fields of the section `data` that only some sources read. They change neither
# the examples nor the runs of the others.
SOME_READ = ('exif_rotation', 'class_order')

# Keys are names of modules in `data/sources/` and values of `data.source`.
SOURCES = {
    'digits': SourceRow(provides=('image', 'label'), needs_path=False),
    'image_folder': SourceRow(
        provides=('image', 'label'), needs_path=True, reads=SOME_READ
    ),
    'tfds': SourceRow(
        provides=('image', 'label'), needs_path=True, reads=('exif_rotation',)
    ),
    'webdataset': SourceRow(
        provides=('image', 'label'), needs_path=True, reads=('exif_rotation',)
    ),
    'features': SourceRow(provides=('features', 'label'), needs_path=True),
}


def providing(name: str) -> str:
  """The names of the sources that provide an array, as text for messages."""
  found = [key for key, row in SOURCES.items() if name in row.provides]
  return ' or '.join(repr(key) for key in found) or 'none yet'
