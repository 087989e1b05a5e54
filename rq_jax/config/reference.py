"""The fields of experiments as text: docs/config.md, and a list for terminals.

python -m rq_jax.config.reference > docs/config.md
"""

from collections.abc import Iterator
import textwrap
from typing import Any

from rq_jax.config import experiment as experiment_lib
from rq_jax.config import fields
from rq_jax.config import schema
from rq_jax.config import texts

_HEAD = """\
# Fields of a configuration

A configuration file sets the fields of an experiment of stage 1 (an RQ-VAE) or
stage 2 (an RQ-Transformer); flags such as `--config.optimizer.peak_lr=1e-4`
override them. `None`, or nothing, after the equals sign unsets a field that may
be unset. Tuples are written as `8,8,4`. A run can be resumed with another value
of the fields that are marked as *resumable*.

This page is written by `python -m rq_jax.config.reference > docs/config.md`.
"""
_TITLES = {
    '': 'The experiment itself',
    'data': '`data`: what to train on',
    'optimizer': '`optimizer`: how parameters move',
    'train': '`train`: how long, and what to do on the way',
    'mesh': '`mesh`: how devices share the work',
}
_STAGES = {
    'model': '`model`: the {}',
    'loss': '`loss`: the losses of the {}',
    'discriminator': '`discriminator`: the opponent of the {}',
}
_NETWORKS = {1: 'RQ-VAE', 2: 'RQ-Transformer'}
_WIDTH = 80


def markdown() -> str:
  """The page docs/config.md."""
  kinds = experiment_lib.KINDS
  parts = [_HEAD]
  shared = {
      name: known
      for kind in kinds.values()
      for name, known in schema.table(kind).items()
      if name != 'stage'
  }
  parts.append(_table(_TITLES[''], shared.values()))
  common = schema.sections(kinds[1]).keys() & schema.sections(kinds[2]).keys()
  for name, section in schema.sections(kinds[1]).items():
    if name in common and name in _TITLES:
      parts.append(_table(_TITLES[name], schema.table(section).values()))
  for stage, kind in kinds.items():
    for name, section in schema.sections(kind).items():
      if name in _STAGES:
        title = f'{_STAGES[name].format(_NETWORKS[stage])} (stage {stage})'
        parts.append(_table(title, schema.table(section).values()))
  return '\n'.join(parts)


def listing(experiment: experiment_lib.Experiment) -> str:
  """All fields of an experiment with their values, for a terminal."""
  values = schema.flatten(experiment)
  lines = []
  for name, known in schema.walk(type(experiment)).items():
    if name == 'stage':
      continue
    lines.append(f'  --config.{name}={_shown(values[name])}')
    text = f'{known.declaration.meaning} {_possible(known)}'.strip()
    lines += textwrap.wrap(
        text, _WIDTH, initial_indent=' ' * 6, subsequent_indent=' ' * 6
    )
  return '\n'.join(lines)


def _table(title: str, rows: Any) -> str:
  return '\n'.join([f'## {title}\n', *_rows(rows), ''])


def _rows(rows: Any) -> Iterator[str]:
  yield '| field | default | meaning |'
  yield '|---|---|---|'
  for known in rows:
    default = _shown(known.default)
    text = f'{known.declaration.meaning} {_possible(known)}'.strip()
    if known.declaration.resumable:
      text += ' *Resumable.*'
    yield f'| `{known.name}` | `{default}` | {text} |'


def _possible(known: fields.Field) -> str:
  """What a field takes: its choices, or its type and range."""
  declared = known.declaration
  if declared.choices:
    listed = ', '.join(repr(choice) for choice in declared.choices)
    return f'One of {listed}.'
  words = texts.describe(known)
  if bounds := fields.bounds(known):
    words += f'; must {bounds}'
  if declared.at_most is not None:
    words += f', at most {declared.at_most}'
  return f'{words[0].upper()}{words[1:]}.'


def _shown(value: Any) -> str:
  if isinstance(value, tuple):
    return ','.join(map(str, value)) or '()'
  return str(value)


if __name__ == '__main__':
  print(markdown(), end='')
