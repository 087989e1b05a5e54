"""The rules that relate the fields of a network's description.

Each rule raises a ValueError that names what is set, what is required, and
which flag to change. A description checks its rules when it is created.
"""

import math
from typing import TYPE_CHECKING

from rq_jax.config import sizes

if TYPE_CHECKING:  # At run time, this would be a circular import.
  from rq_jax.config.models import RQTransformerConfig
  from rq_jax.config.models import RQVAEConfig


def require(holds: bool, was: str, required: str, change: str) -> None:
  """Raises a ValueError if a rule is broken.

  Args:
    holds: Whether the rule is kept.
    was: Subject of the message: the field and its value.
    required: Verb phrase of the message: what is required of the field.
    change: The flags to change, as the object of 'Change'.
  """
  if not holds:
    raise ValueError(f'{was} {required}. Change {change}.')


def check_rqvae(model: 'RQVAEConfig') -> None:
  """Checks that an RQ-VAE can be built from its description."""
  for rule in (_levels, _code_map, _codebooks, _groups):
    rule(model)


def check_rqtransformer(model: 'RQTransformerConfig') -> None:
  """Checks that an RQ-Transformer can be built from its description."""
  for rule in (_heads, _conditions, _null_class, _vocabularies):
    rule(model)


def _levels(model: 'RQVAEConfig') -> None:
  levels = len(model.channel_multipliers)
  require(
      levels > 0,
      'config.model.channel_multipliers=()',
      'must have at least one number, one for each level',
      '--config.model.channel_multipliers',
  )
  factor = 2 ** (levels - 1)
  require(
      all(side % factor == 0 for side in sizes.pair(model.image_size)),
      f'config.model.image_size={model.image_size}',
      f'must be a multiple of {factor} on each side, because {levels} levels'
      f' halve it {levels - 1} times',
      '--config.model.image_size or --config.model.channel_multipliers',
  )
  require(
      isinstance(model.res_blocks, int) or len(model.res_blocks) == levels,
      f'config.model.res_blocks={model.res_blocks}',
      f'must be one number, or one for each of the {levels} levels',
      '--config.model.res_blocks',
  )


def _code_map(model: 'RQVAEConfig') -> None:
  height, width = model.feature_map
  h, w, _ = model.code_shape
  require(
      height % h == 0 and width % w == 0,
      f'config.model.code_shape={model.code_shape}',
      f'must divide the {height}x{width} feature map evenly',
      '--config.model.code_shape or --config.model.channel_multipliers',
  )


def _codebooks(model: 'RQVAEConfig') -> None:
  depth = model.code_shape[2]
  for name in ('codebook_size', 'decay'):
    value = getattr(model, name)
    if not isinstance(value, tuple):
      continue
    require(
        not model.shared_codebook,
        f'config.model.{name}={value} with config.model.shared_codebook=True',
        'must be one number, because all depths share one codebook',
        f'--config.model.{name} or --config.model.shared_codebook',
    )
    require(
        len(value) == depth,
        f'config.model.{name}={value}',
        f'must have one number for each of the {depth} depths of'
        f' config.model.code_shape={model.code_shape}',
        f'--config.model.{name}',
    )


def _groups(model: 'RQVAEConfig') -> None:
  widths = {model.channels * m for m in model.channel_multipliers}
  if bad := sorted(w for w in widths if w % model.norm_groups):
    require(
        False,
        f'config.model.norm_groups={model.norm_groups}',
        'must divide the number of channels of every level, but does not divide'
        f' {bad[0]}. Possible values are the divisors of'
        f' {math.gcd(*widths)}',
        '--config.model.norm_groups',
    )


def _heads(model: 'RQTransformerConfig') -> None:
  require(
      model.width % model.heads == 0,
      f'config.model.width={model.width}',
      f'must be a multiple of config.model.heads={model.heads}',
      '--config.model.width or --config.model.heads',
  )
  require(
      model.depth_layers > 0 or model.code_shape[2] == 1,
      f'config.model.depth_layers={model.depth_layers}',
      'must be positive, because a code stack has several codes',
      '--config.model.depth_layers',
  )


def _conditions(model: 'RQTransformerConfig') -> None:
  require(
      not (model.num_classes and model.text_vocab_size),
      f'config.model.num_classes={model.num_classes} and'
      f' config.model.text_vocab_size={model.text_vocab_size}',
      'cannot both be set, because a model is conditioned on labels or texts,'
      ' not both',
      '--config.model.num_classes or --config.model.text_vocab_size to 0',
  )
  require(
      (model.text_vocab_size > 0) == (model.text_length > 0),
      f'config.model.text_vocab_size={model.text_vocab_size} and'
      f' config.model.text_length={model.text_length}',
      'must both be positive for a text-conditional model, and both be 0'
      ' otherwise',
      '--config.model.text_vocab_size or --config.model.text_length',
  )


def _null_class(model: 'RQTransformerConfig') -> None:
  require(
      not model.null_class or model.num_classes + model.text_vocab_size > 0,
      'config.model.null_class=True',
      'needs a model that is conditioned on labels or texts',
      '--config.model.null_class to False',
  )


def _vocabularies(model: 'RQTransformerConfig') -> None:
  if isinstance(model.codebook_size, tuple):
    require(
        len(model.codebook_size) == model.code_shape[2],
        f'config.model.codebook_size={model.codebook_size}',
        'must have one number for each depth of'
        f' config.model.code_shape={model.code_shape}',
        '--config.model.codebook_size',
    )
    require(
        not (model.shared_embedding or model.shared_classifier),
        f'config.model.codebook_size={model.codebook_size}',
        'needs separate embeddings and classifiers for each depth',
        '--config.model.shared_embedding and --config.model.shared_classifier'
        ' to False',
    )
