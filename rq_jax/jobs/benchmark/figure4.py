"""Figure 4 of the paper: maps of code stacks against longer maps of codes."""

from collections.abc import Sequence
import pathlib

from rq_jax import config as config_lib
from rq_jax.config import RQTransformerConfig
from rq_jax.jobs.benchmark import text_tables
from rq_jax.jobs.benchmark.measured import Record
from rq_jax.reports import columns

_FILE = pathlib.Path(__file__).parents[3] / 'configs/benchmark/rqtransformer.py'
# Seconds per image on an A100 in Figure 4 of the paper, by batch size: first
# for 16x16x1 codes by VQ-GAN's transformer, then for 8x8x4 codes.
PAPER = {100: (0.162, 0.039), 200: (0.140, 0.025)}


def models(size: str) -> dict[str, RQTransformerConfig]:
  """The models of one size to compare, by name; the one with stacks is first.

  They have the same layers and width, and so the same number of parameters. The
  size 'huge' adds VQ-GAN's model, with which the paper compares.

  Raises:
    ValueError: If the configuration files do not exist.
  """
  if not _FILE.exists():
    raise ValueError(
        f'--figure4 needs {_FILE}, which does not exist. Run it in a clone of'
        ' the repository.'
    )
  names = [f'{size}-f32-d4-k16384', f'{size}-f16-d1-k16384']
  if size == 'huge':
    names.append('vqgan_huge-f16-d1-k16384')
  models = {}
  for name in names:
    model = config_lib.load_model(f'{_FILE}:{name}')
    assert isinstance(model, RQTransformerConfig)  # All models of the file are.
    models[name] = model
  return models


def tables(records: Sequence[Record]) -> str:
  """The tables of all records, followed by their comparison."""
  return f'{text_tables.tables(records)}\n\n{comparison(records)}'


def comparison(records: Sequence[Record]) -> str:
  """A table of the times of all models, relative to the model with stacks.

  Args:
    records: Records of all models; those of the model with stacks come first.
  """
  by_name: dict[str, dict[int, Record]] = {}
  for record in records:
    by_name.setdefault(record['model'], {})[record['batch_size']] = record
  (stacks, ours), *others = by_name.items()
  lines = [f'Milliseconds per image, and their ratio to {stacks}']
  rows: list[tuple[str, ...]] = []
  rows.append(('model', 'batch', 'ms', 'ratio', 'layers', 'paper'))
  for batch, record in ours.items():
    rows.append(_compared(record, record, _paper(batch, 1)))
    for _, found in others:
      if batch in found:
        rows.append(_compared(found[batch], record, _paper(batch, 0)))
  lines += columns.aligned(rows, left=1)
  lines.append('  layers: number of layers that run in sequence for an image.')
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
