"""Text tables with aligned columns, for terminals."""

from collections.abc import Iterable, Sequence


def aligned(rows: Sequence[Sequence[str]], *, left: int = 0) -> Iterable[str]:
  """Lines of a table, with cells aligned right except for the first `left`."""
  widths = [max(map(len, column)) for column in zip(*rows)]
  for row in rows:
    cells = [
        cell.ljust(width) if i < left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths))
    ]
    yield '  ' + '  '.join(cells).rstrip()
