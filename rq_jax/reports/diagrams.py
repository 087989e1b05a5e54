"""Diagrams as files of SVG: an image, its codes, and the decoded image."""

import numpy as np

_CELL, _GAP = 26, 14  # Side of the square of a code, and between depths.
_IMAGE, _ARROW, _MARGIN, _TOP = 112, 84, 20, 44


def code_map(
    image: np.ndarray,
    codes: np.ndarray,
    reconstruction: np.ndarray,
    size: int,
) -> str:
  """An image, its code map depth by depth, and the image decoded from it.

  Args:
    image: uint8[P, P], grey.
    codes: int[H, W, D]. Equal codes have the same colour.
    reconstruction: uint8[P, P], grey.
    size: Number of codewords, K.

  Returns:
    The contents of an SVG file.
  """
  height, width, depth = codes.shape
  step = _CELL * width + _GAP
  first = _MARGIN + _IMAGE + _ARROW
  end = first + depth * step - _GAP
  last = end + _ARROW
  foot = _TOP + max(_IMAGE, _CELL * height)
  parts = [
      _picture(image, _MARGIN, 'image'),
      _arrow(_MARGIN + _IMAGE, 'encode'),
      *(_codes(codes, d, first + d * step, size) for d in range(depth)),
      _arrow(end, 'decode'),
      _picture(reconstruction, last, 'reconstruction'),
      _text(
          (first + end) / 2,
          foot + 28,
          f'{height}x{width} positions with {depth} codes each.'
          ' The RQ-Transformer generates such maps.',
      ),
  ]
  right, bottom = last + _IMAGE + _MARGIN, foot + 48
  return (
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{right}"'
      f' height="{bottom}" viewBox="0 0 {right} {bottom}"'
      ' font-family="sans-serif" font-size="12" fill="#333"'
      ' text-anchor="middle">'
      # Pages may be dark: the diagram brings its own paper.
      '<rect width="100%" height="100%" rx="8" fill="#fff"/>'
      f'{"".join(parts)}</svg>\n'
  )


def _text(x: float, y: float, text: str, weight: str = 'normal') -> str:
  return f'<text x="{x:g}" y="{y:g}" font-weight="{weight}">{text}</text>'


def _picture(image: np.ndarray, left: int, title: str) -> str:
  """An image of sharp squares, and its title."""
  side = _IMAGE / len(image)
  squares = (
      f'<rect x="{left + side * j:g}" y="{_TOP + side * i:g}" width="{side:g}"'
      f' height="{side:g}" fill="rgb({value},{value},{value})"/>'
      for (i, j), value in np.ndenumerate(image)
  )
  return (
      _text(left + _IMAGE / 2, _TOP - 12, title, 'bold')
      + f'<g shape-rendering="crispEdges">{"".join(squares)}</g>'
  )


def _codes(codes: np.ndarray, d: int, left: int, size: int) -> str:
  """The codes of one depth, as numbers on colours."""
  middle = left + _CELL * codes.shape[1] / 2
  parts = [_text(middle, _TOP - 12, f'depth {d + 1}', 'bold')]
  for (i, j), code in np.ndenumerate(codes[..., d]):
    x, y = left + _CELL * j, _TOP + _CELL * i
    parts.append(
        f'<rect x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" rx="3"'
        f' fill="hsl({360 * code / size:.0f},60%,84%)"/>'
        + _text(x + _CELL / 2 - 1, y + _CELL / 2 + 3, str(code))
    )
  return ''.join(parts)


def _arrow(left: int, word: str) -> str:
  """An arrow to the right, with a word above it."""
  start, end, y = left + 14, left + _ARROW - 14, _TOP + _IMAGE / 2
  return (
      _text((start + end) / 2, y - 10, word)
      + f'<path d="M{start} {y:g}H{end}m-7 -5l7 5l-7 5" fill="none"'
      ' stroke="#333" stroke-width="1.5"/>'
  )
