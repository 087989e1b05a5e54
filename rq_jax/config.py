"""Experiments: every field with its default, and every rule between fields.

A configuration file starts from `defaults(stage)` and sets what makes the
experiment; flags may override any field. `check` then refuses what cannot work,
before anything is built, and returns the experiment as plain values.
"""

import copy
import difflib
import json
import types
from collections.abc import Mapping
from typing import Any

from rq_jax import config_rules

Config = types.SimpleNamespace

_COMMON = dict(
    seed=0,
    init_from=None,  # Path of a run or conversion whose weights to start from.
    data=dict(
        source='digits',
        path=None,
        image_size=256,
        crop='center',  # Of training images.
        flip=False,
        batch_size=128,  # Of all devices together.
        workers=0,  # Processes that prepare examples.
    ),
    optimizer=dict(
        name='adam',
        peak_lr=4e-5,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        clip_norm=0.0,  # 0 for no clipping.
        warmup_steps=0,
        schedule='constant',
        min_lr=0.0,
        ema_decay=0.0,  # Of the averaged parameters; 0 keeps none.
    ),
    train=dict(
        steps=None,  # Either steps or epochs.
        epochs=None,
        log_steps=100,
        eval_steps=1000,
        checkpoint_steps=1000,
        keep_checkpoints=2,
    ),
    mesh=dict(data=-1, fsdp=1, model=1),
)

_STAGE1 = dict(
    model=dict(
        image_size=256,
        channels=128,
        channel_multipliers=(1, 1, 2, 2, 4, 4),
        res_blocks=2,
        attention_resolutions=(8,),
        z_channels=256,
        embed_dim=256,
        code_shape=(8, 8, 4),
        codebook_size=16384,
        shared_codebook=True,
        decay=0.99,
        codebook_update='step',
        restart='relative',
        restart_threshold=0.1,
        norm_groups=32,
        dropout=0.0,
        remat=False,
        dtype='float32',
    ),
    loss=dict(
        reconstruction='mse',
        commitment_weight=0.25,
        perceptual_weight=0.0,
        adversarial_weight=0.0,
        adversarial_start=0,  # Step.
        discriminator='hinge',
    ),
    discriminator=dict(channels=64, layers=2, norm='batch', dtype='float32'),
)

_STAGE2 = dict(
    tokenizer=None,  # Path of a stage-1 run or conversion.
    model=dict(
        code_shape=(8, 8, 4),
        codebook_size=16384,
        embed_dim=256,
        width=1536,
        heads=24,
        spatial_layers=12,
        depth_layers=4,
        num_classes=0,
        text_vocab_size=0,
        text_length=0,
        null_class=False,
        spatial_input='codebook',
        depth_input='codebook',
        shared_embedding=True,
        cumulative_depth_input=True,
        shared_classifier=True,
        attention_bias=True,
        mlp_bias=True,
        gelu='exact',
        depth_gelu=None,
        dropout=0.1,
        attention_dropout=0.0,
        embedding_dropout=0.0,
        remat=False,
        dtype='float32',
    ),
    loss=dict(
        temperature=0.5,  # Of the soft targets and of the draws.
        stochastic_codes=True,
        soft_targets=True,
        condition_weight=0.0,  # Of predicting the text itself.
        label_dropout=0.0,  # Share of conditions replaced by the null class.
    ),
)

# Fields whose default is None, and what they hold otherwise.
OPTIONAL = {
    'init_from': str,
    'tokenizer': str,
    'data.path': str,
    'train.steps': int,
    'train.epochs': float,
    'model.depth_gelu': str,
}
# Fields that take one number, or one for each level or depth.
_PER_DEPTH = ('model.codebook_size', 'model.decay', 'model.res_blocks')
_CHOICES = {
    'data.source': ('digits', 'image_folder', 'features'),
    'data.crop': ('center', 'random', 'random_resized'),
    'optimizer.name': ('adam', 'adamw'),
    'optimizer.schedule': ('cosine', 'constant'),
    'model.codebook_update': ('step', 'depth'),
    'model.restart': ('relative', 'absolute', 'off'),
    'model.spatial_input': ('codebook', 'learned'),
    'model.depth_input': ('codebook', 'learned'),
    'model.gelu': ('exact', 'sigmoid'),
    'model.depth_gelu': (None, 'exact', 'sigmoid'),
    'model.dtype': ('float32', 'bfloat16', 'float16'),
    'loss.reconstruction': ('mse', 'l1'),
    'loss.discriminator': ('hinge', 'vanilla'),
    'discriminator.norm': ('batch', 'act'),
    'discriminator.dtype': ('float32', 'bfloat16', 'float16'),
}
# A resumed run may differ in these; anything else would make it another run.
_RESUMABLE = ('train.', 'mesh.', 'data.workers', 'data.path', 'init_from',
              'tokenizer')  # fmt: skip


def defaults(stage: int) -> dict[str, Any]:
  """All fields of an experiment of stage 1 or 2, with their defaults."""
  return copy.deepcopy(
      {'stage': stage, **_COMMON, **(_STAGE1 if stage == 1 else _STAGE2)}
  )


def template(stage: int):
  """All fields with their defaults, as a locked ConfigDict to set fields of.

  Fields without a default, such as paths, hold placeholders of their type.
  """
  from ml_collections import config_dict  # Not where only models run.

  def fill(prefix: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (
            fill(f'{prefix}{name}.', value)
            if isinstance(value, dict)
            else config_dict.placeholder(OPTIONAL[prefix + name])
            if value is None
            else value
        )
        for name, value in fields.items()
    }

  return config_dict.ConfigDict(fill('', defaults(stage))).lock()


def check(raw: Mapping[str, Any]) -> Config:
  """Checks an experiment and returns its values, read as `config.data.path`.

  Args:
    raw: Nested mappings, such as a ConfigDict's `to_dict()` or a parsed
      `config.json`. Fields left out take their defaults.

  Returns:
    The experiment; sequences are tuples.

  Raises:
    ValueError: Naming what was set, what is possible, and the flag to change.
  """
  if raw.get('stage') not in (1, 2):
    raise ValueError(
        f'config.stage={raw.get("stage")!r} must be 1 (RQ-VAE) or 2'
        ' (RQ-Transformer).'
    )
  config = _merge('', defaults(raw['stage']), raw)
  config_rules.check(config)
  return config


def _merge(prefix: str, known: dict[str, Any], raw: Mapping[str, Any]) -> Config:
  values = {}
  for name in raw:
    if name not in known:
      close = difflib.get_close_matches(name, known, n=1)
      hint = f'Did you mean --config.{prefix}{close[0]}? ' if close else ''
      raise ValueError(
          f'Unknown field config.{prefix}{name}. {hint}Possible are'
          f' {", ".join(sorted(known))}.'
      )
  for name, default in known.items():
    path = prefix + name
    if isinstance(default, dict):
      values[name] = _merge(f'{path}.', default, raw.get(name, {}))
    else:
      values[name] = _value(path, default, raw.get(name, default))
  return Config(**values)


def _value(path: str, default: Any, value: Any) -> Any:
  """Checks one field's type, and the choices it has."""
  if isinstance(value, list | tuple):
    value = tuple(value)
  expected = OPTIONAL.get(path, type(default))
  allowed = {expected, type(default)}
  if float in allowed:
    allowed.add(int)
  if path in _PER_DEPTH:
    allowed.add(tuple)
  if type(value) not in allowed:
    raise ValueError(
        f'config.{path}={value!r} is {_article(type(value))}, but must be'
        f' {_article(expected)}. Change --config.{path}.'
    )
  if path in _CHOICES and value not in _CHOICES[path]:
    raise ValueError(
        f'config.{path}={value!r} is none of {_CHOICES[path]}. Change'
        f' --config.{path}.'
    )
  if float in allowed and type(value) is int:
    value = float(value)
  return value


def _article(kind: type) -> str:
  names = {int: 'an integer', float: 'a number', bool: 'True or False',
           str: 'a text', tuple: 'a tuple'}  # fmt: skip
  return names.get(kind, kind.__name__)


def to_dict(config: Config) -> dict[str, Any]:
  """The inverse of `check`: nested dictionaries."""
  return {
      name: to_dict(value) if isinstance(value, Config) else value
      for name, value in vars(config).items()
  }


def flatten(config: Config, prefix: str = '') -> dict[str, Any]:
  """Values by dotted name, such as 'data.path'."""
  flat = {}
  for name, value in vars(config).items():
    if isinstance(value, Config):
      flat |= flatten(value, f'{prefix}{name}.')
    else:
      flat[prefix + name] = value
  return flat


def check_resumable(old: Config, new: Config) -> None:
  """Refuses to resume a run with fields that make it another one.

  Raises:
    ValueError: Naming the fields that differ; the length of the run, logging,
      workers and the mesh may.
  """
  before, after = flatten(old), flatten(new)
  changed = [
      f'config.{name} (was {before.get(name)!r}, is {after.get(name)!r})'
      for name in sorted(before | after)
      if before.get(name) != after.get(name)
      and not name.startswith(_RESUMABLE)
  ]
  if changed:
    raise ValueError(
        f'This workdir holds a run with other settings: {"; ".join(changed)}.'
        ' Set them back to resume it, or choose another --workdir.'
    )


def total_steps(config: Config, num_examples: int) -> int:
  """Steps of the whole run, from `train.steps` or `train.epochs`."""
  if config.train.steps is not None:
    return config.train.steps
  return round(config.train.epochs * num_examples / config.data.batch_size)


def to_json(config: Config) -> str:
  """The experiment as text, readable by `check(json.loads(text))`."""
  return json.dumps(to_dict(config), indent=2)
