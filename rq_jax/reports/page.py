"""Reports as HTML pages: single files that load nothing from elsewhere.

The template page.html, in this folder, holds the style sheet and frame of a
page.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
import html
from importlib import resources
import string
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.reports import pictures


def write(path: epath.PathLike, title: str, sections: Iterable[str]) -> None:
  """Writes a page, whole or not at all; creates its folder if it is missing.

  Args:
    path: The file.
    title: Title of the page, as plain text.
    sections: HTML elements from top to bottom. Empty ones are left out.

  Raises:
    DiskFullError: If there is no room for the file.
  """
  path = epath.Path(path)
  folder = resources.files('rq_jax.reports')
  frame = folder.joinpath('page.html').read_text('utf-8')
  page = string.Template(frame).substitute(
      title=html.escape(title),
      body='\n'.join(section for section in sections if section),
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.whole(path) as file:
    file.write(page.encode())


def section(title: str, text: str, content: str) -> str:
  """A section of a page: a title, a sentence or two below it, and its content.

  Args:
    title: Title, as HTML.
    text: Sentences below the title, as HTML.
    content: Content of the section, as HTML elements.
  """
  return f'<section><h2>{title}</h2><p>{text}</p>{content}</section>'


def picture(pixels: np.ndarray, description: str) -> str:
  """An image element that contains its own PNG file.

  Args:
    pixels: uint8[h, w, 3] or uint8[h, w]; see `pictures.png_bytes`.
    description: Alternative text for people who cannot see the image, as plain
      text.
  """
  height, width = pixels.shape[:2]
  data = base64.b64encode(pictures.png_bytes(pixels)).decode()
  return (
      f'<img src="data:image/png;base64,{data}" width="{width}"'
      f' height="{height}" alt="{html.escape(description)}">'
  )


def table(rows: Sequence[Sequence[str]]) -> str:
  """A table whose first row and first column are headings, as plain text."""
  drawn = ''.join(
      f'<tr><th scope="row">{html.escape(first)}</th>'
      + ''.join(f'<td>{html.escape(cell)}</td>' for cell in rest)
      + '</tr>'
      for first, *rest in rows
  )
  return (
      '<div class="card"><div class="scroll"><table class="numbers">'
      f'{drawn}</table></div></div>'
  )


def warnings(sentences: Sequence[str]) -> str:
  """A list of warnings, given as plain text; '' if there are none."""
  if not sentences:
    return ''
  items = ''.join(f'<li>{html.escape(text)}</li>' for text in sentences)
  return f'<ul class="warnings">{items}</ul>'


def notes(tables: Mapping[str, Mapping[str, Any]]) -> str:
  """Tables of names and values, such as settings, side by side.

  Args:
    tables: Title -> name -> value. A value may be a nested mapping, whose names
      are shown with dots, such as 'a.b'.
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
