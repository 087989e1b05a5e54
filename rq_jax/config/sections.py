"""The sections of an experiment, except for its networks and its losses."""

import dataclasses

from rq_jax.config import fields
from rq_jax.config import schema
from rq_jax.config import sizes
from rq_jax.config import source_table

# Pixels of an image file: the default limit, and the limit of Pillow.
DEFAULT_MAX_PIXELS = 80_000_000
PILLOW_MAX_PIXELS = 178_956_970


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(schema.Section, name='data'):
  """Where examples come from, and how they are prepared."""

  source: str = fields.field(
      'digits',
      'Data source: the digits of scikit-learn, a folder of images, a dataset'
      ' written by `prepare` or by TFDS, a folder of tar files (webdataset), or'
      ' a cache of features written by `encode`.',
      choices=tuple(source_table.SOURCES),
  )
  path: str | None = fields.field(
      None,
      'Folder of the images, the prepared dataset, the tar files or the cache'
      " of features; 'digits' needs none.",
      path=True, resumable=True,
  )  # fmt: skip
  image_size: sizes.ImageSize = fields.field(
      256,
      'Size that images are resized and cropped to, in pixels: the side of a'
      ' square, or height and width.',
      above=0, inherited=True,
  )  # fmt: skip
  max_pixels: int = fields.field(
      DEFAULT_MAX_PIXELS,
      'Largest image file that is read, in pixels (width times height); larger'
      ' files are refused.',
      above=0, at_most=PILLOW_MAX_PIXELS,
      because='Pillow does not open larger images', resumable=True,
  )  # fmt: skip
  exif_rotation: bool = fields.field(
      True,
      'Whether to rotate images by their EXIF orientation, as photo viewers'
      ' do.',
      legacy=False,
  )
  class_order: str = fields.field(
      'natural',
      'Order of the class folders, which get the labels 0, 1, 2, ...: by the'
      ' values of numbers in their names (2 before 10), or by characters (10'
      ' before 2).',
      choices=('natural', 'alphabetical'), legacy='alphabetical',
  )  # fmt: skip
  decoder: str = fields.field(
      'pillow',
      "Library that decodes and resizes images. 'opencv' is faster; resized"
      ' training images differ slightly.',
      choices=('pillow', 'opencv'),
  )
  on_error: str = fields.field(
      'fail',
      'What happens if an image cannot be read: the run stops, or the next'
      ' image that can be read replaces it.',
      choices=('fail', 'skip'), resumable=True,
  )  # fmt: skip
  max_errors: int = fields.field(
      1000,
      "With `on_error='skip'`: the run stops if more images than this cannot be"
      ' read in one epoch.',
      at_least=0, resumable=True,
  )  # fmt: skip
  crop: str = fields.field(
      'center',
      'How training images are cropped to `image_size`: at the center, at a'
      ' random position, or at a random position and size (75 to 100 % of the'
      ' area).',
      choices=('center', 'random', 'random_resized'),
  )
  flip: bool = fields.field(
      False,
      'Whether to mirror a random half of the training images left to right.',
  )
  batch_size: int = fields.field(
      128, 'Examples per step, on all devices together.', above=0
  )
  workers: int = fields.field(
      0, 'Processes that load and prepare examples; 0 uses threads instead.',
      at_least=0, resumable=True,
  )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(schema.Section, name='optimizer'):
  """How parameters are updated, also those of a discriminator."""

  name: str = fields.field(
      'adam', 'The optimizer: Adam, or Adam with decoupled weight decay.',
      choices=('adam', 'adamw'),
  )  # fmt: skip
  peak_lr: float = fields.field(
      4e-5, 'Learning rate at the end of the warm-up.', above=0
  )
  betas: tuple[float, float] = fields.field(
      (0.9, 0.999), "Decay rates of Adam's two moments.", at_least=0, below=1
  )
  eps: float = fields.field(
      1e-8, "Adam's epsilon, which is added to the denominator.", above=0
  )
  weight_decay: float = fields.field(
      0.0,
      "Weight decay of the kernels; with 'adam', it is an L2 term in their"
      ' gradients.',
      at_least=0,
  )
  clip_norm: float = fields.field(
      0.0,
      'Largest global norm of the gradients; larger gradients are scaled down.'
      ' 0 turns this off.',
      at_least=0,
  )
  warmup_steps: int = fields.field(
      0,
      'Steps in which the learning rate rises linearly from 0 to `peak_lr`.',
      at_least=0,
  )
  schedule: str = fields.field(
      'constant',
      'Learning rate after the warm-up: it falls to `min_lr` along a cosine, or'
      ' stays constant.',
      choices=('cosine', 'constant'),
  )
  min_lr: float = fields.field(
      0.0, "Learning rate at the end of the schedule 'cosine'.", at_least=0
  )
  ema_decay: float = fields.field(
      0.0,
      'Decay of the moving average of the parameters; 0 keeps no average.',
      at_least=0, below=1,
  )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(schema.Section, name='train'):
  """How long to train, and how often to log, evaluate and save."""

  steps: int | None = fields.field(
      None, 'Length of the run in steps; set either this or `epochs`.',
      above=0, resumable=True,
  )  # fmt: skip
  epochs: float | None = fields.field(
      None, 'Length of the run in epochs; set either this or `steps`.',
      above=0, resumable=True,
  )  # fmt: skip
  min_steps: int = fields.field(
      0,
      'With `epochs`: smallest length of the run in steps, because small'
      ' datasets need more epochs than large ones.',
      at_least=0, resumable=True,
  )  # fmt: skip
  accumulate: int = fields.field(
      1,
      'Pieces that a step computes one after the other, to save memory. A step'
      ' takes one update with the mean gradient of the whole batch of'
      ' `data.batch_size` examples. Must divide `data.batch_size`.',
      above=0, resumable=True,
  )  # fmt: skip
  log_steps: int = fields.field(
      100, 'Steps between two lines of metrics.', above=0, resumable=True
  )
  eval_steps: int = fields.field(
      1000, 'Steps between two evaluations.', above=0, resumable=True
  )
  eval_images: int = fields.field(
      50_000,
      'Largest number of examples per evaluation, from the start of the test'
      ' split.',
      above=0, resumable=True,
  )  # fmt: skip
  eval_samples: int = fields.field(
      0,
      'Images that every evaluation compares as sets, in features of'
      ' `eval_inception`. Stage 1: the first ones of the test split and their'
      ' reconstructions, to compute rFID, but at most `eval_images`. Stage 2:'
      ' images that are drawn with the same random numbers each time, to'
      ' compute FID and the Inception Score.',
      at_least=0, resumable=True,
  )  # fmt: skip
  eval_inception: str | None = fields.field(
      None,
      'With `eval_samples`: folder of the network that `convert'
      ' --from=inception` writes.',
      path=True, resumable=True,
  )  # fmt: skip
  eval_reference: str | None = fields.field(
      None,
      'With `eval_samples` in stage 2: file of statistics to compare with,'
      ' such as `evaluate --save_reference` writes.',
      path=True, resumable=True,
  )  # fmt: skip
  eval_dialect: str = fields.field(
      'adm',
      'With `eval_samples`: tool whose numbers are computed; see `evaluate`.',
      choices=('adm', 'pytorch-fid', 'torch-fidelity', 'clean-fid', 'rq'),
      resumable=True,
  )
  checkpoint_steps: int = fields.field(
      1000, 'Steps between two checkpoints.', above=0, resumable=True
  )
  keep_checkpoints: int = fields.field(
      2, 'How many of the newest checkpoints are kept.', above=0,
      resumable=True,
  )  # fmt: skip
  on_save_error: str = fields.field(
      'stop',
      'What happens if a checkpoint cannot be saved, for example on a full'
      ' disk: the run stops, or it continues and tries again at the next'
      ' checkpoint. The last checkpoint must always be saved.',
      choices=('stop', 'continue'), resumable=True,
  )  # fmt: skip
  max_skipped: int = fields.field(
      0,
      'How many steps in a row may be skipped because their loss or gradient is'
      ' not finite. One more ends the run.',
      at_least=0, resumable=True,
  )  # fmt: skip
  verify_every: int = fields.field(
      0,
      'Every how many steps to take a step twice, to compare the results bit'
      ' by bit, and to compare the copies of arrays on different devices. A'
      ' difference ends the run. Such a step takes twice as long and needs'
      ' memory for a second copy of the state. 0 turns this off.',
      at_least=0, resumable=True,
  )  # fmt: skip
  keep_every: int = fields.field(
      0,
      'Checkpoints whose step is a multiple of this are never removed; 0 turns'
      ' this off. It must be a multiple of `checkpoint_steps`.',
      at_least=0, resumable=True,
  )  # fmt: skip
  keep_best: str | None = fields.field(
      None,
      "Metric of evaluations, such as 'eval/mse'; the checkpoint with the best"
      ' value is kept, besides the newest ones. The newest evaluation at or'
      ' before the step of a checkpoint counts for it, so let `eval_steps` be'
      ' `checkpoint_steps` or a multiple of it.',
      resumable=True,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh(schema.Section, name='mesh'):
  """Devices along each axis of the mesh; -1 takes all remaining devices."""

  data: int = fields.field(
      -1, 'Devices that split the batch; -1 takes all remaining devices.',
      at_least=-1, resumable=True,
  )  # fmt: skip
  fsdp: int = fields.field(
      1,
      'Devices that split the batch and the parameters; -1 takes all remaining'
      ' devices.',
      at_least=-1, resumable=True,
  )  # fmt: skip
  model: int = fields.field(
      1, 'Devices that split each layer; -1 takes all remaining devices.',
      at_least=-1, resumable=True,
  )  # fmt: skip
  slices: int = fields.field(
      1,
      'TPU slices, between which only the batch is split. Must divide `data`.',
      above=0, resumable=True,
  )  # fmt: skip
