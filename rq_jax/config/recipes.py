"""The settings that the experiments of the paper share, one recipe per stage.

The files of `configs/` start from a recipe and set the fields that differ. Some
files take an argument, as in
`--config=configs/imagenet256/rqtransformer.py:1.4b`; `choose` and `parse` read
such arguments.
"""

from collections.abc import Mapping
import re
from typing import Any

from rq_jax import config as config_lib

# The channel multipliers of an RQ-VAE, by the width of a position in pixels.
MULTIPLIERS = {
    8: (1, 2, 2, 4),
    16: (1, 1, 2, 2, 4),
    32: (1, 1, 2, 2, 4, 4),
}


# How the official code reads folders of images.
_FOLDERS = dict(exif_rotation=False, class_order='alphabetical')


def rqvae():
  """Stage 1: an RQ-VAE with 8x8x4 codes, trained with a patch discriminator.

  The loss is the mean squared error, plus 0.25 times the commitment loss, plus
  LPIPS, plus 0.75 times an adaptively weighted adversarial loss from the first
  step on. The learning rate stays constant after the warm-up, if there is one.
  """
  config = config_lib.template(stage=1)
  config.data.update(
      source='tfds',
      image_size=256,
      batch_size=128,
      workers=8,
      **_FOLDERS,
  )
  config.model.update(
      image_size=256,
      channels=128,
      channel_multipliers=MULTIPLIERS[32],
      res_blocks=2,
      attention_resolutions=(8,),
      embed_dim=256,
      code_shape=(8, 8, 4),
      codebook_size=16384,
  )
  config.loss.update(
      reconstruction='mse',
      commitment_weight=0.25,
      perceptual_weight=1.0,
      adversarial_weight=0.75,
      adversarial_start=0,
      discriminator='hinge',
  )
  config.optimizer.update(
      name='adam', peak_lr=4e-5, betas=(0.5, 0.9), schedule='constant'
  )
  config.train.update(eval_steps=5000, checkpoint_steps=1000)
  return config


def rqtransformer():
  """Stage 2: an RQ-Transformer, trained on stochastic codes and soft targets.

  AdamW with a learning rate that falls from 5e-4 to 0 along a cosine, without a
  warm-up. Conditions are never dropped: the published models have no null
  class.
  """
  config = config_lib.template(stage=2)
  config.data.update(
      source='features', image_size=256, batch_size=2048, **_FOLDERS
  )
  config.model.update(
      code_shape=(8, 8, 4),
      codebook_size=16384,
      embed_dim=256,
      null_class=False,
      dropout=0.1,
      dtype='bfloat16',
  )
  config.loss.update(temperature=0.5, stochastic_codes=True, soft_targets=True)
  config.optimizer.update(
      name='adamw',
      peak_lr=5e-4,
      betas=(0.9, 0.95),
      weight_decay=1e-4,
      clip_norm=1.0,
      schedule='cosine',
      min_lr=0.0,
  )
  config.train.update(epochs=100.0, eval_steps=1000, checkpoint_steps=500)
  return config


def choose(name: str, chosen: str, options: Mapping[str, Any]) -> Any:
  """Looks up an option that the argument of a configuration file names.

  Args:
    name: What the options are, for the error.
    chosen: Name of the chosen option.
    options: All options by name.

  Raises:
    ValueError: If there is no such option.
  """
  if chosen not in options:
    raise ValueError(
        f'The {name} {chosen!r} of --config is unknown. Choose one of'
        f' {", ".join(options)}.'
    )
  return options[chosen]


def parse(pattern: str, argument: str, example: str) -> re.Match[str]:
  """Matches the argument of a configuration file with a regular expression.

  Args:
    pattern: The regular expression.
    argument: The argument.
    example: An argument that matches, for the error.

  Raises:
    ValueError: If the argument does not match the pattern.
  """
  match = re.fullmatch(pattern, argument)
  if match is None:
    raise ValueError(
        f'The argument {argument!r} of --config does not match the pattern'
        f' {pattern}. Write, for example, {example}.'
    )
  return match
