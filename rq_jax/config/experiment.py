"""The experiments of both stages: parsed, checked, and written as JSON.

`parse` returns an experiment whose networks can be built. `check` also checks
that the experiment can be trained.
"""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any, TypeAlias

from rq_jax.config import fields
from rq_jax.config import losses
from rq_jax.config import models
from rq_jax.config import plain
from rq_jax.config import rules
from rq_jax.config import schema
from rq_jax.config import sections
from rq_jax.config import source_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shared(schema.Section):
  """The fields and sections that the experiments of both stages share."""

  stage: int
  seed: int = fields.field(
      0, 'Seed of all random numbers.', at_least=0, at_most=2**32 - 1,
      because='random keys are made from 32 bits',
  )  # fmt: skip
  init_from: str | None = fields.field(
      None,
      'Folder of a run or converted checkpoint. Training starts from its'
      ' weights.',
      path=True, resumable=True,
  )  # fmt: skip
  data: sections.Data = schema.nested(sections.Data)
  optimizer: sections.Optimizer = schema.nested(sections.Optimizer)
  train: sections.Train = schema.nested(sections.Train)
  mesh: sections.Mesh = schema.nested(sections.Mesh)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQVAEExperiment(_Shared):
  """An experiment of stage 1."""

  stage: int = fields.field(1, 'Trains an RQ-VAE.', choices=(1,))
  model: models.RQVAEConfig = schema.nested(models.RQVAEConfig)
  loss: losses.RQVAELoss = schema.nested(losses.RQVAELoss)
  discriminator: models.DiscriminatorConfig = schema.nested(
      models.DiscriminatorConfig
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQTransformerExperiment(_Shared):
  """An experiment of stage 2."""

  stage: int = fields.field(2, 'Trains an RQ-Transformer.', choices=(2,))
  tokenizer: str | None = fields.field(
      None,
      'Folder of the RQ-VAE: a run or a converted checkpoint. A resumed run may'
      ' find the same RQ-VAE at another path.',
      path=True, resumable=True,
  )  # fmt: skip
  model: models.RQTransformerConfig = schema.nested(models.RQTransformerConfig)
  loss: losses.RQTransformerLoss = schema.nested(losses.RQTransformerLoss)


Experiment: TypeAlias = RQVAEExperiment | RQTransformerExperiment

KINDS: Mapping[int, type[Experiment]] = {
    1: RQVAEExperiment,
    2: RQTransformerExperiment,
}


def kind_of(raw: Mapping[str, Any]) -> type[Experiment]:
  """The class of an experiment that is given as plain values.

  Raises:
    ValueError: If the stage is neither 1 nor 2.
  """
  stage = raw.get('stage')
  if type(stage) is not int or stage not in KINDS:
    raise ValueError(
        f'config.stage={stage!r} must be 1 (RQ-VAE) or 2 (RQ-Transformer).'
        ' Change the stage of the configuration.'
    )
  return KINDS[stage]


def parse(raw: Mapping[str, Any]) -> Experiment:
  """Parses an experiment that can be built, though perhaps not trained.

  Args:
    raw: Nested mappings, such as a ConfigDict's `to_dict()` or a parsed
      `config.json`. Missing fields take their defaults.

  Raises:
    ValueError: If the experiment cannot be built. The message names what was
      set, what is possible, and the flag to change.
  """
  return schema.parse(kind_of(raw), raw)


def parse_stored(raw: Mapping[str, Any]) -> Experiment:
  """Parses the `config.json` of a run, which may lack newer fields.

  Fields that did not exist when the run was stored take the values that keep
  its behaviour.
  """
  return parse(schema.with_legacy(kind_of(raw), raw))


def parse_model(
    raw: Mapping[str, Any],
) -> models.RQVAEConfig | models.RQTransformerConfig:
  """Parses only the description of the network.

  Args:
    raw: The plain values of an experiment; see `parse`.

  Raises:
    ValueError: If the network cannot be built. The message names what was set,
      what is possible, and the flag to change.
  """
  section = schema.sections(kind_of(raw))['model']
  return schema.parse(section, raw.get('model', {}), 'model.')


def check(raw: Mapping[str, Any], *, with_data: bool = True) -> Experiment:
  """Parses an experiment and checks that it can be trained.

  Args:
    raw: The plain values of an experiment; see `parse`.
    with_data: Whether the data and the weights that are not trained (LPIPS, the
      tokenizer) must be set. A plan (`--dry_run`) does not need them.

  Raises:
    ValueError: If the experiment cannot be trained. The message names what was
      set, what is possible, and the flag to change.
  """
  experiment = parse(raw)
  rules.check(experiment, with_data=with_data)
  return experiment


def template(stage: int) -> Any:
  """A locked ConfigDict of all fields with their defaults, to be filled in.

  Optional fields, such as paths, hold placeholders of their type. Without
  ml_collections, it is a `plain.PlainConfig`.
  """
  # Imported here, because code that only runs models does not need it.
  try:
    from ml_collections import config_dict
  except ImportError:
    return _plain(KINDS[stage])

  def of(kind: type) -> dict[str, Any]:
    values = {}
    for name, known in schema.table(kind).items():
      value = known.default
      if known.optional:
        value = config_dict.placeholder(known.kind)
      elif (
          known.declaration.words
          or known.declaration.bools
          or (known.single and known.length is not None)
      ):  # A value of one type or another.
        value = config_dict.FieldReference(value, field_type=object)
      values[name] = value
    inner = schema.sections(kind).items()
    return values | {name: of(section) for name, section in inner}

  return config_dict.ConfigDict(of(KINDS[stage])).lock()


def _plain(kind: type) -> plain.PlainConfig:
  values = {name: known.default for name, known in schema.table(kind).items()}
  inner = {name: _plain(part) for name, part in schema.sections(kind).items()}
  return plain.PlainConfig(values | inner)


def to_dict(experiment: schema.Section) -> dict[str, Any]:
  """Converts an experiment to nested dictionaries, the inverse of `parse`."""
  return dataclasses.asdict(experiment)


def to_json(experiment: Experiment) -> str:
  """Converts an experiment to JSON, which `parse_stored` reads."""
  return json.dumps(to_dict(experiment), indent=2)


def with_stored(
    old: Experiment, new: Experiment
) -> tuple[Experiment, dict[str, Any]]:
  """Keeps the older behaviour of a run that is resumed with newer defaults.

  Only fields that declare a `legacy` value are kept, where `old` has this value
  and `new` the default. Whether a user has set that default is not known.

  Args:
    old: The experiment of the run, from `parse_stored`.
    new: The experiment to resume the run with.

  Returns:
    `new` with the kept values, and these values by dotted name.
  """
  before, ignored = schema.flatten(old), _ignored(new)
  raw, kept = to_dict(new), {}
  for name, value in schema.flatten(new).items():
    known = schema.walk(type(new))[name]
    legacy = known.declaration.legacy
    if legacy is None or name in ignored or value != known.default:
      continue
    if before.get(name) == legacy:
      section, _, field = name.rpartition('.')
      (raw[section] if section else raw)[field] = legacy
      kept[name] = legacy
  return parse(raw), kept


def _ignored(experiment: Experiment) -> set[str]:
  """Fields that the data source does not read, by dotted name."""
  read = source_table.SOURCES[experiment.data.source].reads
  return {f'data.{n}' for n in source_table.SOME_READ if n not in read}


def check_resumable(old: Experiment, new: Experiment) -> None:
  """Checks that a run may be resumed with a new experiment.

  Args:
    old: The experiment of the run.
    new: The experiment to resume the run with.

  Raises:
    ValueError: If fields differ that are not declared as resumable. The message
      names them.
  """
  if found := changed(old, new):
    raise ValueError(
        f'This workdir holds a run with other settings: {"; ".join(found)}.'
        ' Set them back to resume it, or choose another --workdir.'
    )


def changed(
    old: Experiment, new: Experiment, *, resumable: bool = False
) -> list[str]:
  """Fields that differ, with both values, for errors.

  Args:
    old: An experiment.
    new: Another one.
    resumable: Whether to compare all fields; by default, those that a resumed
      run may change, or that its data source does not read, do not count.
  """
  before, after = schema.flatten(old), schema.flatten(new)
  known = schema.walk(type(old)) | schema.walk(type(new))
  ignored = _ignored(new)
  return [
      f'config.{name} (was {before.get(name)!r}, is {after.get(name)!r})'
      for name in sorted(before | after)
      if before.get(name) != after.get(name)
      and (
          resumable
          or not (known[name].declaration.resumable or name in ignored)
      )
  ]


def total_steps(experiment: Experiment, num_examples: int) -> int:
  """The number of steps of a run, from `train.steps` or `train.epochs`.

  With `train.epochs`, a run has at least `train.min_steps` steps.

  Args:
    experiment: The experiment of the run.
    num_examples: Number of training examples, the length of an epoch.

  Raises:
    ValueError: If neither field is set.
  """
  train = experiment.train
  if train.steps is not None:
    return train.steps
  if train.epochs is None:
    raise ValueError(
        'Neither config.train.steps nor config.train.epochs is set. Set one of'
        ' --config.train.steps and --config.train.epochs.'
    )
  steps = round(train.epochs * num_examples / experiment.data.batch_size)
  return max(steps, train.min_steps)
