"""Completes an experiment of stage 2 from its tokenizer and its data.

A configuration may leave fields of stage 2 unset, that is, None. The tokenizer
decides the shape of the code maps, the codebook size and the channels; the data
decides the classes. Fields that are set stay as they are; a run refuses those
that do not fit.
"""

from collections.abc import Mapping
from typing import Any

from rq_jax import config as config_lib
from rq_jax.checkpoints import stored
from rq_jax.config import experiment as experiment_lib
from rq_jax.config import reading
from rq_jax.config import schema
from rq_jax.config import sections
from rq_jax.config import source_table
from rq_jax.data import sources
from rq_jax.models import build

# The share of labels that train the null class, if there are classes.
_LABEL_DROPOUT = 0.1


def load(
    path: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    with_data: bool = True,
) -> config_lib.Experiment:
  """Reads a configuration file and completes it; otherwise as `config.load`.

  Args:
    path: Path of the configuration file.
    overrides: Values by dotted name, such as 'data.path'.
    with_data: Whether data and weights must be set.

  Raises:
    ValueError: If there is no such file, if the tokenizer or the data cannot be
      read, or if the experiment cannot be trained.
  """
  raw = reading.with_values(reading.read(path), overrides or {})
  raw, _ = complete(raw, with_data=with_data)
  return config_lib.check(raw, with_data=with_data)


def complete(
    raw: Mapping[str, Any], *, with_data: bool = True
) -> tuple[dict[str, Any], str]:
  """Sets the fields of stage 2 that are None.

  Args:
    raw: The plain values of an experiment; see `config.parse`.
    with_data: Whether the data must exist. Without data, a model has no
      classes.

  Returns:
    The completed values, and a sentence that lists what was set; '' if nothing
    was.

  Raises:
    ValueError: If the tokenizer or the data is needed and cannot be read.
  """
  kind = experiment_lib.kind_of(raw)
  schema.check_sections(kind, raw)
  unset = schema.unset(kind, raw)
  if raw['stage'] == 1 or not unset:
    return dict(raw), ''
  if raw.get('tokenizer') is None:
    raise ValueError(
        f'config.{unset[0]} is taken from the tokenizer and the data of stage'
        ' 2. Set --config.tokenizer to the workdir of a trained RQ-VAE, and'
        ' --config.data.path to the cache of features that `python -m rq_jax'
        ' encode` writes with it.'
    )
  tokenizer = build.rqvae(stored.read_rqvae(raw['tokenizer']))
  codes = {f'model.{n}': v for n, v in build.codes_of(tokenizer).items()}
  codes['data.image_size'] = tokenizer.image_size
  codes = {name: value for name, value in codes.items() if name in unset}
  completed = with_values(raw, codes)
  classes = _classes(completed, unset, with_data=with_data)
  shown = [
      f'{", ".join(f"config.{n}={v}" for n, v in values.items())} from the'
      f' {origin}'
      for values, origin in ((codes, 'tokenizer'), (classes, 'data'))
      if values
  ]
  return with_values(completed, classes), f'Set {" and ".join(shown)}.'


def _classes(
    raw: Mapping[str, Any], unset: list[str], *, with_data: bool
) -> dict[str, Any]:
  """The fields about classes that are unset, by dotted name.

  Data with one class, such as a folder of images without subfolders, trains an
  unconditional model.
  """
  model = raw.get('model', {})
  texts = model.get('text_vocab_size', 0)
  found = {}
  if 'model.num_classes' in unset:
    data = schema.parse(sections.Data, raw.get('data', {}), 'data.')
    count = 0
    missing = source_table.SOURCES[data.source].needs_path and not data.path
    if not texts and (with_data or not missing):
      count = sources.open_source(data, 'train').num_classes
    found['model.num_classes'] = count if count > 1 else 0
  conditions = found.get('model.num_classes', model.get('num_classes')) or texts
  if 'model.null_class' in unset:
    found['model.null_class'] = bool(conditions)
  if 'loss.label_dropout' in unset:
    has_null = found.get('model.null_class', model.get('null_class'))
    found['loss.label_dropout'] = _LABEL_DROPOUT if has_null else 0.0
  return found


def with_values(
    raw: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
  """A copy of plain values with some fields set by dotted name."""
  completed = dict(raw)
  for name, value in values.items():
    section, _, field = name.rpartition('.')
    completed[section] = {**completed.get(section, {}), field: value}
  return completed
