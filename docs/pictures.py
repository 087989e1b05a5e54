r"""Draws the pictures of the documentation from a run of the quickstart.

  python docs/pictures.py --run=runs/quickstart --out=docs/images

Reads the run that `bash launch/quickstart.sh` leaves, and writes digits.png,
overview.svg, guidance.png, editing.png and preview.png. The same run gives the
same pictures. Takes a minute on two CPU cores. The real digits are held-out
ones, the first of their class.
"""

from collections.abc import Sequence
import sys

from absl import flags
from etils import epath
import jax
import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont
import tqdm

import rq_jax
from rq_jax.cli import command
from rq_jax.data.sources import digits
from rq_jax.jobs.quickstart import digits as figures
from rq_jax.reports import diagrams
from rq_jax.reports import pictures

_GUIDANCE = (0, 1, 2, 4)
_GUIDED = rq_jax.Sampling(guidance=2)
_PREVIEWED = range(4, 9)
_REDRAWS = 3
_TEXT, _GREY = 225, 128

_SHOWN = 5  # Digits of each class in digits.png.
_ENLARGED = 2  # Side of one of their pixels there.
_OVERVIEW = 5  # The real digit of overview.svg.

# A real digit, the part of it that is drawn anew, and the label to draw.
_EDITS = (
    (2, 'lower', 2),
    (5, 'lower', 5),
    (0, 'right', 0),
    (4, 'right', 4),
    (8, 'lower', 9),
    (9, 'lower', 8),
    (5, 'lower', 6),
)


def labelled(
    cells: np.ndarray,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    *,
    scale: int = 2,
) -> np.ndarray:
  """A grid with names beside its rows and above its columns.

  Args:
    cells: uint8[R, C, S, S, 3].
    rows: R names; none take no room.
    columns: C names.
    scale: Each pixel becomes a square of this side.

  Returns:
    uint8[h, w], grey: the grid of `pictures.grid` in the lower right corner.
  """
  large = cells.repeat(scale, axis=2).repeat(scale, axis=3)
  grid = pictures.grid(large.reshape(-1, *large.shape[2:]), cells.shape[1])
  size = 4 * min(scale, 2)
  font = ImageFont.load_default(6 + size)
  left = max((int(font.getlength(name)) + 16 for name in rows), default=0)
  top = 12 + size if columns else 0
  pixels = np.pad(
      grid, ((top, 0), (left, 0), (0, 0)), constant_values=pictures.BORDER
  )
  picture = Image.fromarray(pixels).convert('L')
  pen = ImageDraw.Draw(picture)
  step = large.shape[2] + 2
  for i, name in enumerate(rows):
    middle = top + 2 + i * step + step // 2
    pen.text((left - 8, middle), name, _TEXT, font, anchor='rm')
  for i, name in enumerate(columns):
    middle = left + 2 + i * step + step // 2
    pen.text((middle, top // 2 + 1), name, _TEXT, font, anchor='mm')
  return np.asarray(picture)


def pixelated(images: np.ndarray) -> np.ndarray:
  """Digits at the resolution of the original ones: uint8[N, 8, 8, 3].

  Args:
    images: uint8[N, S, S, 3].
  """
  side = figures.SIDE
  pixels = figures.downsample(images).reshape(-1, side, side, 1)
  return np.round(255 * pixels).astype(np.uint8).repeat(3, axis=3)


def generated(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The first generated digits of each class, one column per class.

  Args:
    images: uint8[N, S, S, 3], those of the quickstart.
    labels: int[N].

  Returns:
    uint8[h, w], grey.
  """
  classes = np.unique(labels)
  columns = [images[labels == c][:_SHOWN] for c in classes]
  picture = labelled(
      np.stack(columns, axis=1),
      columns=[str(c) for c in classes],
      scale=_ENLARGED,
  )
  return captioned(
      picture,
      'Generated digits of 32x32 pixels. The training digits are 8x8 originals,'
      ' enlarged.',
  )


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
  """A grey picture with a line of text below it: uint8[h, w] -> uint8[h', w].

  Args:
    picture: uint8[h, w].
    text: The line.
  """
  height, width = picture.shape
  canvas = np.pad(picture, ((0, 26), (0, 0)), constant_values=pictures.BORDER)
  drawn = Image.fromarray(canvas)
  ImageDraw.Draw(drawn).text(
      (width // 2, height + 12), text, _TEXT, ImageFont.load_default(14), 'mm'
  )
  return np.asarray(drawn)


def region(part: str, size: int) -> np.ndarray:
  """Pixels of the 'lower' or the 'right' half of an image: bool[S, S]."""
  rows, columns = np.indices((size, size))
  return (rows if part == 'lower' else columns) >= size // 2


def guidance(sampler: rq_jax.Sampler) -> np.ndarray:
  """Every class, at more and more guidance and with the same key."""
  key = jax.random.key(0)
  classes = range(sampler.prior.num_classes)
  drawn = [
      sampler(key, labels=classes, sampling=rq_jax.Sampling(guidance=scale))
      for scale in _GUIDANCE
  ]
  names = [f'guidance {scale}' for scale in _GUIDANCE]
  return labelled(np.stack(drawn), names, [str(c) for c in classes])


def editing(sampler: rq_jax.Sampler) -> np.ndarray:
  """Halves of real digits drawn anew, as the same class or another."""
  held_out = digits.Digits('test')
  first = {}
  for example in held_out:
    first.setdefault(int(example['label']), example['image'])
  originals = np.stack([first[digit] for digit, _, _ in _EDITS])
  redraw = np.stack([region(p, originals.shape[1]) for _, p, _ in _EDITS])
  labels = [label for _, _, label in _EDITS]
  rows = [originals, np.where(redraw[..., None], np.uint8(_GREY), originals)]
  for i in range(_REDRAWS):
    rows.append(
        sampler.edit(
            jax.random.key(i),
            originals,
            redraw,
            labels=labels,
            sampling=_GUIDED,
        )
    )
  names = ['real', 'to redraw', *(f'key {i}' for i in range(_REDRAWS))]
  heads = [f'{a}' if a == b else f'{a} to {b}' for a, _, b in _EDITS]
  return labelled(np.stack(rows), names, heads)


def preview(sampler: rq_jax.Sampler) -> np.ndarray:
  """Digits row by row, as they are drawn, and what each depth adds to them."""
  decode = sampler.tokenizer.decode
  partial = list(
      sampler.stream(
          jax.random.key(0),
          labels=_PREVIEWED,
          first_index=_PREVIEWED[0],  # The digits of guidance.png.
          sampling=_GUIDED,
      )
  )
  rows = np.stack([decode(codes) for codes in partial], axis=1)
  depths = range(1, sampler.prior.depth + 1)
  levels = np.stack([decode(partial[-1], depth=d) for d in depths], axis=1)
  added = pictures.change(levels[:, :-1], levels[:, 1:], scale=4)
  depth_by_depth = np.concatenate([levels[:, :1], added], axis=1)
  names = [str(label) for label in _PREVIEWED]
  heads = [f'row {i + 1}' for i in range(len(partial))]
  more = ['depth 1', *(f'{d} adds' for d in depths[1:])]
  return np.concatenate(
      [labelled(rows, names, heads), labelled(depth_by_depth, [' '], more)],
      axis=1,
  )


def overview(tokenizer: rq_jax.Tokenizer) -> str:
  """A real digit, its codes, and the digit decoded from them: a file of SVG."""
  image = next(
      example['image'][None]
      for example in digits.Digits('test')
      if example['label'] == _OVERVIEW
  )
  codes = np.asarray(tokenizer.encode(image))
  return diagrams.code_map(
      pixelated(image)[0, ..., 0],
      codes[0],
      pixelated(np.asarray(tokenizer.decode(codes)))[0, ..., 0],
      tokenizer.model.codebook_size,
  )


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  command.define_path(
      'run', 'runs/quickstart', 'Folder of the quickstart.', values
  )
  command.define_path('out', 'docs/images', 'Folder to write to.', values)
  return values


def _draw(values: flags.FlagValues) -> None:
  run, out = epath.Path(values.run), epath.Path(values.out)
  sampler = rq_jax.Sampler.restore(str(run / 'rqtransformer'))
  for draw in tqdm.tqdm((guidance, editing, preview), unit='picture'):
    pictures.write_png(out / f'{draw.__name__}.png', draw(sampler))
  with np.load(run / 'samples.npz') as samples:
    digit_grid = generated(samples['images'], samples['labels'])
  pictures.write_png(out / 'digits.png', digit_grid)
  (out / 'overview.svg').write_text(overview(sampler.tokenizer))


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _draw))
