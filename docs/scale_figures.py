r"""Compiles the published configurations; prints the table of docs/scale.md.

  PYTHONPATH=. nice -n 19 python docs/scale_figures.py docs/scale_rows.jsonl
  PYTHONPATH=. python docs/scale_figures.py docs/scale_rows.jsonl --rows=h200

Each row is a line of JSON in the file. Rows that are there are not compiled
again, so the script can be stopped and started; --rows=TEXT only makes rows
whose name contains the text, and --table only prints the table. A large
training step takes minutes, and up to 30 GB of memory. Needs the extra aot.
"""

import argparse
import dataclasses
import json
import os
import pathlib

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from rq_jax import config as config_lib
from rq_jax.cli import config_flag
from rq_jax.jobs.compile import job
from rq_jax.jobs.compile import programs
from rq_jax.sampling import Sampling

IMAGENET, FFHQ, BEDROOM = 1_281_167, 60_000, 3_033_042
CAT, CHURCH, CC3M = 1_657_266, 126_227, 2_900_000


@dataclasses.dataclass(frozen=True)
class Row:
  """A program to compile.

  Attributes:
    path: The configuration file.
    what: The program.
    target: What to compile for.
    changes: Fields that differ from the file.
    batch: Images of `sample`, `encode` and `decode`.
    examples: Images in an epoch of training.
    top_p: Filter of `sample`.
  """

  path: str
  what: str
  target: str
  changes: tuple[str, ...] = ()
  batch: int | None = None
  examples: int | None = None
  top_p: float = 1.0

  @property
  def name(self) -> str:
    """A name that no other row has."""
    words = [self.path, self.what, self.target, *self.changes]
    words += [f'batch={self.batch}'] if self.batch else []
    words += [f'top_p={self.top_p}'] if self.top_p < 1 else []
    return ' '.join(words)


def _sampler(target: str, batch: int, size: str = '1.4b', **more) -> Row:
  path = f'imagenet256/rqtransformer.py:{size}'
  return Row(path, 'sample', target, batch=batch, **more)


BF16 = 'model.dtype=bfloat16'
ROWS = (
    Row('digits/rqtransformer.py', 'train', 'v5e:1x1'),
    Row('digits/rqvae.py', 'train', 'h200'),
    Row('digits/rqtransformer.py', 'train', 'h200'),
    Row('digits/rqtransformer.py', 'sample', 'v5e:1x1', batch=100),
    _sampler('h200', 8),
    _sampler('h200', 64),
    _sampler('h200', 500),
    _sampler('h200', 64, top_p=0.92),
    _sampler('v5e:1x1', 64),
    _sampler('h200', 64, '480m'),
    _sampler('h200', 64, '821m'),
    _sampler('h200', 64, '3.8b'),
    Row('ffhq256/rqtransformer.py', 'sample', 'h200', batch=64),
    Row('lsun_church256/rqtransformer.py', 'sample', 'h200', batch=64),
    Row('lsun_cat256/rqtransformer.py', 'sample', 'h200', batch=64),
    Row('cc3m256/rqtransformer.py', 'sample', 'h200', batch=64),
    Row('imagenet256/rqvae.py', 'decode', 'h200', (BF16,), batch=64),
    Row('imagenet256/rqvae.py', 'encode', 'h200', (BF16,), batch=128),
    Row('imagenet256/rqvae.py', 'decode', 'v5e:1x1', (BF16,), batch=64),
    Row('imagenet256/rqvae.py', 'train', 'h200',
        (BF16, 'data.batch_size=32'), examples=IMAGENET),
    Row('imagenet256/rqtransformer.py:1.4b', 'train', 'h200:8',
        ('data.batch_size=256',), examples=IMAGENET),
    Row('imagenet256/rqtransformer.py:1.4b', 'train', 'h200:64',
        examples=IMAGENET),
    Row('imagenet256/rqtransformer.py:3.8b', 'train', 'h200:64',
        examples=IMAGENET),
    Row('imagenet256/rqtransformer.py:480m', 'train', 'h200:8',
        ('data.batch_size=512',), examples=IMAGENET),
    Row('ffhq256/rqtransformer.py', 'train', 'h200', examples=FFHQ),
    Row('lsun_church256/rqtransformer.py', 'train', 'h200', examples=CHURCH),
    Row('lsun_cat256/rqtransformer.py', 'train', 'h200:8',
        examples=CAT),
    Row('cc3m256/rqtransformer.py', 'train', 'h200:8', examples=CC3M),
    Row('ffhq256/rqvae.py', 'train', 'h200',
        (BF16, 'data.batch_size=32'), examples=FFHQ),
    Row('digits/rqvae.py', 'train', 'v5e:1x1'),
    Row('imagenet256/rqvae.py', 'train', 'v5p:2x2x1',
        (BF16, 'data.batch_size=32'), examples=IMAGENET),
    Row('imagenet256/rqtransformer.py:1.4b', 'train', 'v5p:4x4x4',
        examples=IMAGENET),
    Row('imagenet256/rqtransformer.py:3.8b', 'train', 'v5p:4x4x4',
        examples=IMAGENET),
)  # fmt: skip


def _made(row: Row) -> dict:
  changes = tuple(change.split('=', 1) for change in row.changes)
  raw = config_flag.read(f'configs/{row.path}', changes)
  raw['tokenizer'] = 'unknown' if raw['stage'] == 2 else None
  config = config_lib.check(
      {name: value for name, value in raw.items() if value is not None},
      with_data=False,
  )
  record = job.describe(
      config,
      what=row.what,
      target=row.target,
      options=programs.Options(
          batch=row.batch,
          sampling=Sampling(top_p=row.top_p),
          dtype=None if row.what == 'train' else config.model.dtype,
          path=f'configs/{row.path}',
      ),
  )
  del record['findings']  # They are long; `compile` prints them.
  record['name'] = row.name
  if row.examples:
    steps = config_lib.total_steps(config, row.examples)
    seconds = steps * record['estimate']['total']
    record['chip_hours'] = seconds * record['devices'] / 3600
  return record


def _table(records: list[dict]) -> str:
  lines = [
      '| program | target, mesh | memory of a device: arguments and '
      'temporaries, GiB; share | kernels | GB moved | collectives: number, GB '
      '| compilation, CPU s | estimate of an execution | estimated chip-hours '
      'of the run |',
      '|---|---|---|---|---|---|---|---|---|',
  ]
  return '\n'.join(lines + [_line(record) for record in records])


def _line(record: dict) -> str:
  memory = record['memory']
  path, what, target, *more = record['name'].split(' ')
  mesh = ', '.join(f'{a} {n}' for a, n in record['mesh'].items() if n > 1)
  rows = record['kernels'].values()
  kernels = f'{sum(row["executions"] for row in rows):,}'
  if what == 'sample':
    longest = max(record['loops'], key=lambda loop: loop['kernels'])
    kernels += f', {longest["kernels"]:,} per position'
  exchanged = record['collectives']
  estimated = record['estimate']['total']
  hours = record.get('chip_hours')
  seconds = record.get('compile_cpu_seconds')
  cells = [
      f'{what}, {path.replace(".py", "")} {" ".join(more)}'.strip(),
      f'{target}{", " if mesh else ""}{mesh}',
      f'{memory["arguments"] / 2**30:.2f}, {memory["temporaries"] / 2**30:.2f};'
      f' {memory["total"] / memory["chip"]:.0%}',
      kernels,
      f'{sum(row["bytes"] for row in rows) / 1e9:,.1f}',
      f'{sum(row["executions"] for row in exchanged):,},'
      f' {sum(row["bytes"] for row in exchanged) / 1e9:,.1f}'
      if exchanged
      else '-',
      f'{seconds:.0f}' if seconds else '-',
      f'{1e3 * estimated:,.1f} ms',
      f'{hours:,.0f}' if hours else '-',
  ]
  return f'| {" | ".join(cells)} |'


def main() -> None:
  """Makes the missing rows, and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('file', type=pathlib.Path)
  parser.add_argument('--rows', default='')
  parser.add_argument('--table', action='store_true')
  given = parser.parse_args()
  lines = given.file.read_text().splitlines() if given.file.exists() else []
  records = {(record := json.loads(line))['name']: record for line in lines}
  for row in ROWS:
    if row.name in records or given.rows not in row.name or given.table:
      continue
    print(row.name, flush=True)
    try:
      records[row.name] = _made(row)
    except ValueError as error:
      print(f'  {error}', flush=True)
      continue
    with given.file.open('a') as file:
      file.write(json.dumps(records[row.name]) + '\n')
  print(_table([records[row.name] for row in ROWS if row.name in records]))


if __name__ == '__main__':
  main()
