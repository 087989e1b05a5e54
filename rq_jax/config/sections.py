"""The sections of an experiment beside its networks."""

import dataclasses

from rq_jax.config import fields
from rq_jax.config import schema
from rq_jax.config import source_table

# Of an image file: what is read unless the experiment says otherwise, and the
# most that Pillow reads.
DEFAULT_MAX_PIXELS = 80_000_000
PILLOW_MAX_PIXELS = 178_956_970


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(schema.Section, name='data'):
  """Where examples come from, and how they are prepared."""

  source: str = fields.field(
      'digits', 'Kind of the data.', choices=tuple(source_table.SOURCES)
  )
  path: str | None = fields.field(
      None, 'Folder of the data.', path=True, resumable=True
  )
  image_size: int = fields.field(
      256, 'Side that images are resized to, in pixels.', above=0
  )
  max_pixels: int = fields.field(
      DEFAULT_MAX_PIXELS, 'Image files with more pixels are refused.', above=0,
      at_most=PILLOW_MAX_PIXELS, because='Pillow opens no larger image',
      resumable=True,
  )  # fmt: skip
  crop: str = fields.field(
      'center', 'Crop of training images.',
      choices=('center', 'random', 'random_resized'),
  )  # fmt: skip
  flip: bool = fields.field(
      False, 'Whether training images are mirrored at random.'
  )
  batch_size: int = fields.field(
      128, 'Examples of a step, of all devices together.', above=0
  )
  workers: int = fields.field(
      0, 'Processes that prepare examples; 0 for threads.', at_least=0,
      resumable=True,
  )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(schema.Section, name='optimizer'):
  """How parameters move; of a discriminator, too."""

  name: str = fields.field(
      'adam', 'Adam, or Adam with decoupled weight decay.',
      choices=('adam', 'adamw'),
  )  # fmt: skip
  peak_lr: float = fields.field(
      4e-5, 'Learning rate at the end of the warm-up.', above=0
  )
  betas: tuple[float, float] = fields.field(
      (0.9, 0.999), "Decays of Adam's two moments.", at_least=0, below=1
  )
  eps: float = fields.field(1e-8, "Adam's epsilon.", above=0)
  weight_decay: float = fields.field(
      0.0,
      'Weight decay of kernels; with adam, an L2 term of their gradients.',
      at_least=0,
  )
  clip_norm: float = fields.field(
      0.0, 'Largest norm of all gradients together; 0 for any.', at_least=0
  )
  warmup_steps: int = fields.field(
      0, 'Steps in which the learning rate rises to `peak_lr`.', at_least=0
  )
  schedule: str = fields.field(
      'constant', 'Course of the learning rate after the warm-up.',
      choices=('cosine', 'constant'),
  )  # fmt: skip
  min_lr: float = fields.field(
      0.0, 'Learning rate at the end of the cosine.', at_least=0
  )
  ema_decay: float = fields.field(
      0.0, 'Decay of the averaged parameters; 0 keeps none.',
      at_least=0, below=1,
  )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(schema.Section, name='train'):
  """How long to train, and what to do on the way."""

  steps: int | None = fields.field(
      None, 'Length of the run in steps; or set `epochs`.', above=0,
      resumable=True,
  )  # fmt: skip
  epochs: float | None = fields.field(
      None, 'Length of the run in epochs; or set `steps`.', above=0,
      resumable=True,
  )  # fmt: skip
  log_steps: int = fields.field(
      100, 'Steps between two lines of metrics.', above=0, resumable=True
  )
  eval_steps: int = fields.field(
      1000, 'Steps between two evaluations.', above=0, resumable=True
  )
  eval_images: int = fields.field(
      50_000, 'Most examples of an evaluation, the first of the test split.',
      above=0, resumable=True,
  )  # fmt: skip
  checkpoint_steps: int = fields.field(
      1000, 'Steps between two checkpoints.', above=0, resumable=True
  )
  keep_checkpoints: int = fields.field(
      2, 'Newest checkpoints that are kept.', above=0, resumable=True
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh(schema.Section, name='mesh'):
  """Devices along each axis of the mesh; -1 stands for all that remain."""

  data: int = fields.field(
      -1, 'Devices that split a batch.', at_least=-1, resumable=True
  )
  fsdp: int = fields.field(
      1, 'Devices that split a batch and share the parameters.', at_least=-1,
      resumable=True,
  )  # fmt: skip
  model: int = fields.field(
      1, 'Devices that split each layer.', at_least=-1, resumable=True
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQVAELoss(schema.Section, name='loss'):
  """The losses of stage 1."""

  reconstruction: str = fields.field(
      'mse', 'Distance of the pixels: squared or absolute.',
      choices=('mse', 'l1'),
  )  # fmt: skip
  commitment_weight: float = fields.field(
      0.25, 'Weight of the commitment loss.', at_least=0
  )
  perceptual_weight: float = fields.field(
      0.0, 'Weight of LPIPS; 0 for none.', at_least=0
  )
  perceptual_path: str | None = fields.field(
      None, 'Folder of converted LPIPS weights.', path=True, resumable=True
  )
  adversarial_weight: float = fields.field(
      0.0, 'Weight of the adversarial loss; 0 trains no discriminator.',
      at_least=0,
  )  # fmt: skip
  adversarial_start: int = fields.field(
      0, 'Step that the adversarial loss starts at.', at_least=0
  )
  discriminator: str = fields.field(
      'hinge', 'Loss of the discriminator.', choices=('hinge', 'vanilla')
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQTransformerLoss(schema.Section, name='loss'):
  """The losses of stage 2."""

  temperature: float = fields.field(
      0.5, 'Temperature of the soft targets and of stochastic codes.', above=0
  )
  stochastic_codes: bool = fields.field(
      True, 'Whether codes are drawn at random, or the nearest are taken.'
  )
  soft_targets: bool = fields.field(
      True,
      'Whether targets are distributions over the codewords, or single codes.',
  )
  condition_weight: float = fields.field(
      0.0, 'Weight of predicting the text itself.', at_least=0, at_most=1
  )
  label_dropout: float = fields.field(
      0.0, 'Share of conditions that the null class replaces.',
      at_least=0, below=1,
  )  # fmt: skip
