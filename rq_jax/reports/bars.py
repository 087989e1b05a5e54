"""Bar charts of counts, as HTML."""

from collections.abc import Mapping
import html


def chart(title: str, counts: Mapping[str, int], *, note: str = '') -> str:
  """Draws one horizontal bar per count, the largest across the whole width.

  Args:
    title: Title above the chart.
    counts: Counts by name, from top to bottom.
    note: Text after the title.

  Returns:
    An HTML figure, or '' if there are no counts.
  """
  if not counts:
    return ''
  largest = max(*counts.values(), 1)
  rows = ''.join(
      f'<tr><th scope="row">{html.escape(name)}</th>'
      f'<td>{_bar(count / largest)}</td>'
      f'<td>{count:,}</td></tr>'
      for name, count in counts.items()
  )
  return (
      f'<figure class="chart"><figcaption><b>{html.escape(title)}</b>'
      f' <small>{html.escape(note)}</small></figcaption>'
      f'<table class="bars">{rows}</table></figure>'
  )


def _bar(share: float) -> str:
  return f'<i style="width:{100 * share:.2f}%"></i>' if share else ''
