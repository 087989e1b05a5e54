"""Pages of what was trained: one HTML file each, nothing loaded from afar.

The style sheet and the frame of a page are in page.html beside this file.
"""

import base64
from collections.abc import Iterable, Mapping
import html
from importlib import resources
import string
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.reports import pictures


def write(path: epath.PathLike, title: str, sections: Iterable[str]) -> None:
  """Writes a page, whole or not at all; makes its folder where it is missing.

  Args:
    path: The file.
    title: Name of the page, as text.
    sections: HTML elements from top to bottom; empty ones are left out.

  Raises:
    DiskFullError: If there is no room for it.
  """
  path = epath.Path(path)
  frame = resources.files(__package__).joinpath('page.html').read_text('utf-8')
  page = string.Template(frame).substitute(
      title=html.escape(title),
      body='\n'.join(section for section in sections if section),
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.whole(path) as file:
    file.write(page.encode())


def section(title: str, text: str, content: str) -> str:
  """A part of a page: a title, a sentence or two below it, and its content.

  Args:
    title: HTML.
    text: HTML.
    content: HTML elements.
  """
  return f'<section><h2>{title}</h2><p>{text}</p>{content}</section>'


def picture(pixels: np.ndarray, description: str) -> str:
  """An image element that holds its own PNG.

  Args:
    pixels: uint8[h, w, 3] or uint8[h, w], see `pictures.png_bytes`.
    description: Read to those who do not see it; text.
  """
  height, width = pixels.shape[:2]
  data = base64.b64encode(pictures.png_bytes(pixels)).decode()
  return (
      f'<img src="data:image/png;base64,{data}" width="{width}"'
      f' height="{height}" alt="{html.escape(description)}">'
  )


def notes(tables: Mapping[str, Mapping[str, Any]]) -> str:
  """Tables of settings and the like, side by side.

  Args:
    tables: Title -> name -> anything printable, or a mapping of such; the names
      inside of a mapping follow its own behind a dot.
  """
  cards = (
      f'<div class="card"><b>{html.escape(title)}</b><table>'
      + ''.join(
          f'<tr><th scope="row">{html.escape(name)}</th>'
          f'<td>{html.escape(str(value))}</td></tr>'
          for name, value in _flatten(entries).items()
      )
      + '</table></div>'
      for title, entries in tables.items()
  )
  return f'<div class="notes">{"".join(cards)}</div>'


def _flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """{'a': {'b': 1}} -> {'a.b': 1}."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      flat.update(_flatten(value, f'{prefix}{key}.'))
    else:
      flat[f'{prefix}{key}'] = value
  return flat
