"""Figure 4 of the paper: maps of code stacks against longer ones of codes."""

from collections.abc import Sequence
import pathlib

from rq_jax import config as config_lib
from rq_jax.config import RQTransformerConfig
from rq_jax.jobs.benchmark import text_tables
from rq_jax.jobs.benchmark.measured import Record

_FILE = pathlib.Path(__file__).parents[3] / 'configs/benchmark/rqtransformer.py'
# Seconds an image on an A100 in Figure 4 of the paper, by the size of the
# batch: of 16x16x1 codes by VQ-GAN's transformer, and of 8x8x4 codes.
PAPER = {100: (0.162, 0.039), 200: (0.140, 0.025)}


def models(size: str) -> dict[str, RQTransformerConfig]:
  """The models of a size to compare, by name; the one with stacks first.

  Of the same layers and width, and so of the same number of parameters. Of the
  largest there is VQ-GAN's, too, which the paper compares with.

  Raises:
    ValueError: If the configuration files are not there.
  """
  if not _FILE.exists():
    raise ValueError(
        f'--figure4 needs {_FILE}: run it in a clone of the repository.'
    )
  names = [f'{size}-f32-d4-k16384', f'{size}-f16-d1-k16384']
  if size == 'huge':
    names.append('vqgan_huge-f16-d1-k16384')
  return {name: config_lib.load_model(f'{_FILE}:{name}') for name in names}


def tables(records: Sequence[Record]) -> str:
  """The tables of all records, and what compares them."""
  return f'{text_tables.tables(records)}\n\n{comparison(records)}'


def comparison(records: Sequence[Record]) -> str:
  """What drawing longer maps takes, over what maps of stacks take.

  Args:
    records: Those of the model with stacks come first.
  """
  by_name: dict[str, dict[int, Record]] = {}
  for record in records:
    by_name.setdefault(record['model'], {})[record['batch_size']] = record
  (stacks, ours), *others = by_name.items()
  lines = [f'Milliseconds an image, over those of {stacks}']
  rows: list[tuple[str, ...]] = []
  rows.append(('model', 'batch', 'ms', 'ratio', 'layers', 'paper'))
  for batch, record in ours.items():
    rows.append(_compared(record, record, _paper(batch, 1)))
    for _, found in others:
      if batch in found:
        rows.append(_compared(found[batch], record, _paper(batch, 0)))
  lines += text_tables.columns(rows, left=1)
  lines.append('  layers: how many an image passes through, one by one.')
  return '\n'.join(lines)


def _paper(batch: int, column: int) -> str:
  if batch not in PAPER:
    return '-'
  seconds, reference = PAPER[batch][column], PAPER[batch][1]
  return f'{1e3 * seconds:.0f} ms, {seconds / reference:.1f}x'


def _compared(record: Record, reference: Record, paper: str) -> tuple[str, ...]:
  total = record['ms_per_image']['total']
  return (
      record['model'],
      str(record['batch_size']),
      f'{total:.3f}',
      f'{total / reference["ms_per_image"]["total"]:.2f}x',
      str(record['layer_passes']),
      paper,
  )
