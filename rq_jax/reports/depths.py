"""Shows how reconstructions grow with every code of the stacks."""

from collections.abc import Sequence

import numpy as np

from rq_jax.reports import page
from rq_jax.reports import pictures

# Follows the name of the images that are shown.
LEGEND = (
    'reconstructed from the first code at every position, then from more of'
    ' them, up to all. Beside them is what each code changes: lighter than grey'
    ' where it makes the image brighter, darker where it makes it darker. The'
    ' change is multiplied by the number beside it. The first code is compared'
    ' with the image that the decoder makes of no codes.'
)


def strips(by_depth: np.ndarray, scores: Sequence[float]) -> str:
  """HTML rows: images by depth, and what each depth changes.

  Args:
    by_depth: Rows of the same images, uint8[D + 2, N, H, W, 3]: decoded from 0,
      1, ..., D codes of every stack, and the originals.
    scores: PSNR in dB by depth; may be empty.
  """
  rows = []
  for depth, (before, after) in enumerate(zip(by_depth, by_depth[1:]), 1):
    scale = pictures.visible_scale(before, after)
    change = pictures.change(before, after, scale)
    if depth < len(by_depth) - 1:
      name = f'{depth} code{"s" if depth > 1 else ""}'
      words = f'code {depth} adds'
    else:
      name, words = 'original', 'still missing'
    score = f'{scores[depth - 1]:.1f} dB' if depth <= len(scores) else ''
    rows.append(
        f'<p><b>{name}</b>{score}</p>{_strip(after, name)}'
        f'<p><b>{words}</b>&times;&nbsp;{scale:g}</p>' + _strip(change, words)
    )
  return f'<div class="depths">{"".join(rows)}</div>'


def _strip(images: np.ndarray, description: str) -> str:
  grid = pictures.grid(images, columns=len(images))
  return page.picture(grid, description)
