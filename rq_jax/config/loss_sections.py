"""The losses of an experiment."""

import dataclasses

from rq_jax.config import fields
from rq_jax.config import schema


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQVAELoss(schema.Section, name='loss'):
  """The losses of stage 1."""

  reconstruction: str = fields.field(
      'mse', 'Loss on the pixels: mean squared or mean absolute error.',
      choices=('mse', 'l1'),
  )  # fmt: skip
  commitment_weight: float = fields.field(
      0.25, 'Weight of the commitment loss.', at_least=0
  )
  perceptual_weight: float = fields.field(
      0.0, 'Weight of the perceptual loss (LPIPS); 0 turns it off.', at_least=0
  )
  perceptual_path: str | None = fields.field(
      None, 'Folder of the LPIPS weights that `convert --from=lpips` writes.',
      path=True, resumable=True,
  )  # fmt: skip
  adversarial_weight: float = fields.field(
      0.0, 'Weight of the adversarial loss; 0 trains no discriminator.',
      at_least=0,
  )  # fmt: skip
  adversarial_start: int = fields.field(
      0,
      'Step at which the adversarial loss and the training of the discriminator'
      ' start.',
      at_least=0,
  )
  discriminator: str = fields.field(
      'hinge', 'Loss of the discriminator: hinge loss, or cross entropy.',
      choices=('hinge', 'vanilla'),
  )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQTransformerLoss(schema.Section, name='loss'):
  """The losses of stage 2."""

  temperature: float | str = fields.field(
      0.5,
      'Temperature of the soft targets and of stochastic codes, in squared'
      " units of the features. 'auto' measures it once, when the run starts,"
      ' and stores the number.',
      above=0, words=('auto',),
  )  # fmt: skip
  stochastic_codes: bool = fields.field(
      True,
      'Whether to draw the training codes at random (stochastic codes) instead'
      ' of taking the nearest codewords.',
  )
  soft_targets: bool = fields.field(
      True,
      'Whether to train on distributions over all codewords instead of single'
      ' codes.',
  )
  condition_weight: float = fields.field(
      0.0,
      'Weight w of the loss on the text tokens; the loss on the codes has the'
      ' weight 1 - w.',
      at_least=0, at_most=1,
  )  # fmt: skip
  label_dropout: float = fields.field(
      0.0,
      'Probability that the null class replaces the condition of a training'
      ' example.',
      at_least=0, below=1, inherited=True,
  )  # fmt: skip
