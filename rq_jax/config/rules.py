"""What `config.check` demands of the fields together, one rule each."""

import math
import numbers
import types

from rq_jax.config import fields

Config = types.SimpleNamespace


def check(config: Config) -> None:
  """Raises a ValueError at the first rule that is broken."""
  check_seed(config.seed, name='config.seed', change='--config.seed')
  for rule in (_ranges, _pixels, _code_shape, _optimizer, _duration):
    rule(config)
  stage = (
      (_levels, _code_map, _codebooks, _groups, _perceptual)
      if config.stage == 1
      else (_paths, _heads, _conditions, _guidance, _vocabularies)
  )
  for rule in stage:
    rule(config)


def check_seed(
    seed: int, *, name: str = 'seed', change: str = '--seed'
) -> None:
  """Checks the seed of a training or of draws.

  JAX also takes larger and negative integers, but keeps only 32 bits of them,
  unless JAX_ENABLE_X64 is set: two seeds could then mean the same numbers.

  Args:
    seed: The seed.
    name: What the error calls it.
    change: What the error asks to change.

  Raises:
    ValueError: If it is not a whole number in [0, 2**32).
  """
  _require(
      isinstance(seed, numbers.Integral) and 0 <= seed < 2**32,
      f'{name}={seed}',
      'must be a whole number in [0, 2**32), as random keys are made from 32'
      ' bits',
      change,
  )


def _require(holds: bool, was: str, required: str, change: str) -> None:
  """Raises the error that a rule states: what is, what must be, what to do."""
  if not holds:
    raise ValueError(f'{was} {required}. Change {change}.')


def _ranges(config: Config) -> None:
  ranges = (
      (fields.POSITIVE, lambda v: v > 0, 'must be positive'),
      (fields.NOT_NEGATIVE, lambda v: v >= 0, 'must not be negative'),
      (fields.FRACTIONS, lambda v: 0 <= v < 1, 'must lie in [0, 1)'),
  )
  for names, holds, required in ranges:
    for name in names:
      section, field = name.split('.')
      # Some are fields of one stage only, or not set.
      value = getattr(getattr(config, section, None), field, None)
      several = value if isinstance(value, tuple) else (value,)
      _require(
          all(v is None or holds(v) for v in several),
          f'config.{name}={value}',
          required,
          f'--config.{name}',
      )


def _pixels(config: Config) -> None:
  _require(
      config.data.max_pixels <= fields.PILLOW_MAX_PIXELS,
      f'config.data.max_pixels={config.data.max_pixels}',
      f'must not exceed {fields.PILLOW_MAX_PIXELS}: Pillow opens no'
      ' larger image',
      '--config.data.max_pixels',
  )


def _code_shape(config: Config) -> None:
  _require(
      len(config.model.code_shape) == 3,
      f'config.model.code_shape={config.model.code_shape}',
      'must be height, width and depth of the code map',
      '--config.model.code_shape',
  )


def _optimizer(config: Config) -> None:
  optimizer = config.optimizer
  _require(
      len(optimizer.betas) == 2,
      f'config.optimizer.betas={optimizer.betas}',
      'must be two numbers, the decays of both moments',
      '--config.optimizer.betas',
  )
  _require(
      optimizer.min_lr <= optimizer.peak_lr,
      f'config.optimizer.min_lr={optimizer.min_lr}',
      f'must not exceed config.optimizer.peak_lr={optimizer.peak_lr}',
      '--config.optimizer.min_lr or --config.optimizer.peak_lr',
  )


def _duration(config: Config) -> None:
  steps, epochs = config.train.steps, config.train.epochs
  _require(
      (steps is None) != (epochs is None),
      f'config.train.steps={steps} and config.train.epochs={epochs}:',
      'exactly one must be set',
      '--config.train.steps or --config.train.epochs',
  )


def _levels(config: Config) -> None:
  model = config.model
  levels = len(model.channel_multipliers)
  _require(
      levels > 0,
      'config.model.channel_multipliers=()',
      'must have one number for each level',
      '--config.model.channel_multipliers',
  )
  factor = 2 ** (levels - 1)
  _require(
      model.image_size % factor == 0,
      f'config.model.image_size={model.image_size}',
      f'must be a multiple of {factor}, as {levels} levels halve it'
      f' {levels - 1} times',
      '--config.model.image_size or --config.model.channel_multipliers',
  )
  _require(
      isinstance(model.res_blocks, int) or len(model.res_blocks) == levels,
      f'config.model.res_blocks={model.res_blocks}',
      f'must be one number or one for each of the {levels} levels',
      '--config.model.res_blocks',
  )
  _require(
      config.data.image_size == model.image_size,
      f'config.data.image_size={config.data.image_size}',
      f'must equal config.model.image_size={model.image_size}',
      '--config.data.image_size',
  )


def _code_map(config: Config) -> None:
  model = config.model
  side = model.image_size // 2 ** (len(model.channel_multipliers) - 1)
  h, w, _ = model.code_shape
  _require(
      side % h == 0 and side % w == 0,
      f'config.model.code_shape={model.code_shape}',
      f'must divide the {side}x{side} feature map evenly',
      '--config.model.code_shape or --config.model.channel_multipliers',
  )


def _codebooks(config: Config) -> None:
  model = config.model
  depth = model.code_shape[2]
  for name in ('codebook_size', 'decay'):
    value = getattr(model, name)
    if not isinstance(value, tuple):
      continue
    _require(
        not model.shared_codebook,
        f'config.model.{name}={value} with config.model.shared_codebook=True',
        'must be one number, as there is one codebook',
        f'--config.model.{name} or --config.model.shared_codebook',
    )
    _require(
        len(value) == depth,
        f'config.model.{name}={value}',
        f'must have one number for each of the {depth} depths of'
        f' config.model.code_shape={model.code_shape}',
        f'--config.model.{name}',
    )


def _groups(config: Config) -> None:
  model = config.model
  widths = {model.channels * m for m in model.channel_multipliers}
  if bad := sorted(w for w in widths if w % model.norm_groups):
    _require(
        False,
        f'config.model.norm_groups={model.norm_groups}',
        f'must divide the channels of every level, such as {bad[0]}; possible'
        f' are the divisors of {math.gcd(*widths)}',
        '--config.model.norm_groups',
    )


def _perceptual(config: Config) -> None:
  weight, size = config.loss.perceptual_weight, config.model.image_size
  if weight == 0:
    return
  _require(
      config.loss.perceptual_path is not None,
      f'config.loss.perceptual_weight={weight}',
      'needs config.loss.perceptual_path, the folder of an LPIPS network, whose'
      ' weights do not come with rq_jax; `python -m rq_jax convert --from=lpips'
      ' --src=vgg16.pth --heads=vgg.pth --dst=checkpoints/lpips` makes one',
      '--config.loss.perceptual_path to that folder, or'
      ' --config.loss.perceptual_weight to 0',
  )
  _require(
      size >= 16,
      f'config.model.image_size={size} with'
      f' config.loss.perceptual_weight={weight}',
      'must be at least 16, as LPIPS halves images four times',
      '--config.model.image_size, or --config.loss.perceptual_weight to 0',
  )


def _paths(config: Config) -> None:
  needed = ['tokenizer']
  if config.data.source in ('features', 'image_folder'):
    needed += ['data.path']
  values = {'tokenizer': config.tokenizer, 'data.path': config.data.path}
  if unset := [f'--config.{name}' for name in needed if values[name] is None]:
    raise ValueError(
        'This experiment has no default for what only you can know: set'
        f' {" and ".join(unset)}.'
    )


def _heads(config: Config) -> None:
  model = config.model
  _require(
      model.width % model.heads == 0,
      f'config.model.width={model.width}',
      f'must be a multiple of config.model.heads={model.heads}',
      '--config.model.width or --config.model.heads',
  )
  _require(
      model.depth_layers > 0 or model.code_shape[2] == 1,
      f'config.model.depth_layers={model.depth_layers}',
      'must be positive, as a stack has several codes',
      '--config.model.depth_layers',
  )


def _conditions(config: Config) -> None:
  model = config.model
  _require(
      not (model.num_classes and model.text_vocab_size),
      f'config.model.num_classes={model.num_classes} and'
      f' config.model.text_vocab_size={model.text_vocab_size}:',
      'a model takes labels or texts, not both',
      '--config.model.num_classes or --config.model.text_vocab_size to 0',
  )
  _require(
      (model.text_vocab_size > 0) == (model.text_length > 0),
      f'config.model.text_vocab_size={model.text_vocab_size} and'
      f' config.model.text_length={model.text_length}',
      'must both be set for a text model, and both be 0 otherwise',
      '--config.model.text_vocab_size or --config.model.text_length',
  )


def _guidance(config: Config) -> None:
  model, dropped = config.model, config.loss.label_dropout
  _require(
      dropped == 0 or model.null_class,
      f'config.loss.label_dropout={dropped}',
      'needs a null class to replace labels by',
      '--config.model.null_class to True',
  )
  _require(
      not model.null_class or model.num_classes or model.text_vocab_size,
      'config.model.null_class=True',
      'needs a condition that it stands for the absence of',
      '--config.model.null_class to False',
  )


def _vocabularies(config: Config) -> None:
  model = config.model
  if isinstance(model.codebook_size, tuple):
    _require(
        len(model.codebook_size) == model.code_shape[2],
        f'config.model.codebook_size={model.codebook_size}',
        'must have one number for each depth of'
        f' config.model.code_shape={model.code_shape}',
        '--config.model.codebook_size',
    )
    _require(
        not (model.shared_embedding or model.shared_classifier),
        f'config.model.codebook_size={model.codebook_size}',
        'needs embeddings and classifiers of its own for each depth',
        '--config.model.shared_embedding and --config.model.shared_classifier'
        ' to False',
    )
