"""What an experiment must fulfil to be trained, one rule each.

Whatever can be built at all is decided by its sections; see `model_rules`.
"""

from collections.abc import Callable
import math
import numbers
from typing import TYPE_CHECKING

from rq_jax.config import sections
from rq_jax.config import source_table
from rq_jax.config.model_rules import require

if TYPE_CHECKING:  # These call the rules.
  from rq_jax.config.experiment import Experiment
  from rq_jax.config.experiment import RQTransformerExperiment
  from rq_jax.config.experiment import RQVAEExperiment


def check(experiment: 'Experiment', *, with_data: bool = True) -> None:
  """Raises a ValueError at the first rule that is broken.

  Args:
    experiment: One that can be built.
    with_data: Whether data, and weights that are not trained, must be named;
      they need not for a plan of what training takes.
  """
  for rule in (_learning_rate, _duration, _mesh, _float16, _counts):
    rule(experiment)
  stage: list[Callable[..., None]]
  with_paths: list[Callable[..., None]]
  if experiment.stage == 1:
    stage = [_images, _image_size, _feature_map, _attention, _adversary,
             _perceptual]  # fmt: skip
    with_paths = [_data_path, _perceptual_path]
  else:
    stage = [_label_dropout, _condition_weight]
    with_paths = [_paths, _texts]
  for rule in [*stage, *(with_paths if with_data else [])]:
    rule(experiment)


def check_seed(seed: int) -> None:
  """Checks the seed of draws, as that of an experiment is checked.

  JAX also takes larger and negative integers, but keeps only 32 bits of them,
  unless JAX_ENABLE_X64 is set: two seeds could then mean the same numbers.

  Raises:
    ValueError: If it is not a whole number in [0, 2**32).
  """
  require(
      isinstance(seed, numbers.Integral) and 0 <= seed < 2**32,
      f'seed={seed}',
      'must be a whole number in [0, 2**32), as random keys are made from 32'
      ' bits',
      '--seed',
  )


def _learning_rate(experiment: 'Experiment') -> None:
  optimizer = experiment.optimizer
  require(
      optimizer.min_lr <= optimizer.peak_lr,
      f'config.optimizer.min_lr={optimizer.min_lr}',
      f'must not exceed config.optimizer.peak_lr={optimizer.peak_lr}',
      '--config.optimizer.min_lr or --config.optimizer.peak_lr',
  )


def _duration(experiment: 'Experiment') -> None:
  steps, epochs = experiment.train.steps, experiment.train.epochs
  require(
      (steps is None) != (epochs is None),
      f'config.train.steps={steps} and config.train.epochs={epochs}:',
      'exactly one must be set',
      '--config.train.steps or --config.train.epochs; None unsets the other',
  )


def _mesh(experiment: 'Experiment') -> None:
  sizes = vars(experiment.mesh)
  for axis, size in sizes.items():
    require(
        size != 0,
        f'config.mesh.{axis}={size}',
        'must be positive, or -1 for all devices that remain',
        f'--config.mesh.{axis}',
    )
  remaining = [axis for axis, size in sizes.items() if size == -1]
  require(
      len(remaining) <= 1,
      ' and '.join(f'config.mesh.{axis}=-1' for axis in remaining),
      'cannot both stand for all devices that remain',
      ' or '.join(f'--config.mesh.{axis}' for axis in remaining),
  )


def _float16(experiment: 'Experiment') -> None:
  for name in ('model', 'discriminator'):
    section = getattr(experiment, name, None)
    require(
        section is None or section.dtype != 'float16',
        f'config.{name}.dtype={"float16"!r}',
        'cannot be trained, as losses are not scaled: small gradients would'
        ' become 0',
        f"--config.{name}.dtype to 'bfloat16' or 'float32'",
    )


def _counts(experiment: 'Experiment') -> None:
  model, batch_size = experiment.model, experiment.data.batch_size
  codes = batch_size * math.prod(model.code_shape)
  sizes = model.codebook_size
  words = max(sizes) if isinstance(sizes, tuple) else sizes
  require(
      codes + words < 2**31,
      f'config.data.batch_size={batch_size} with config.model.code_shape='
      f'{model.code_shape} and config.model.codebook_size={sizes}',
      f'gives {codes} codes of {words} codewords in a step: together they must'
      ' be less than 2**31, as codes are counted in 32 bits',
      '--config.data.batch_size, --config.model.code_shape or'
      ' --config.model.codebook_size',
  )


def _image_size(experiment: 'RQVAEExperiment') -> None:
  size = experiment.model.image_size
  require(
      experiment.data.image_size == size,
      f'config.data.image_size={experiment.data.image_size}',
      f'must equal config.model.image_size={size}',
      '--config.data.image_size',
  )


def _feature_map(experiment: 'RQVAEExperiment') -> None:
  model, side = experiment.model, experiment.model.feature_map
  levels = len(model.channel_multipliers)
  require(
      model.code_shape[:2] == (side, side),
      f'config.model.code_shape={model.code_shape}',
      f'must begin with {side}, {side}: {levels} levels make a {side}x{side}'
      f' feature map of {model.image_size} pixels',
      '--config.model.code_shape, --config.model.image_size or'
      ' --config.model.channel_multipliers',
  )


def _attention(experiment: 'RQVAEExperiment') -> None:
  model = experiment.model
  levels = range(len(model.channel_multipliers))
  possible = [model.image_size // 2**level for level in levels]
  wrong = [r for r in model.attention_resolutions if r not in possible]
  require(
      not wrong,
      f'config.model.attention_resolutions={model.attention_resolutions}',
      f'has {wrong and wrong[0]}, which no level has; the levels have'
      f' {", ".join(map(str, possible))}',
      '--config.model.attention_resolutions',
  )


def _adversary(experiment: 'RQVAEExperiment') -> None:
  size, layers = experiment.model.image_size, experiment.discriminator.layers
  if experiment.loss.adversarial_weight == 0:
    return
  # Every layer halves, and the convolutions behind them lose two rows.
  most = max((n for n in range(1, 32) if size >> n >= 3), default=0)
  require(
      layers <= most,
      f'config.discriminator.layers={layers} with config.model.image_size='
      f'{size}',
      f'must not exceed {most}: nothing would be left of the image',
      '--config.discriminator.layers',
  )


def _perceptual(experiment: 'RQVAEExperiment') -> None:
  weight, size = experiment.loss.perceptual_weight, experiment.model.image_size
  require(
      weight == 0 or size >= 16,
      f'config.model.image_size={size} with'
      f' config.loss.perceptual_weight={weight}',
      'must be at least 16, as LPIPS halves images four times',
      '--config.model.image_size, or --config.loss.perceptual_weight to 0',
  )


def _perceptual_path(experiment: 'RQVAEExperiment') -> None:
  loss = experiment.loss
  require(
      loss.perceptual_weight == 0 or loss.perceptual_path is not None,
      f'config.loss.perceptual_weight={loss.perceptual_weight}',
      'needs config.loss.perceptual_path, the folder of an LPIPS network, whose'
      ' weights do not come with rq_jax; `python -m rq_jax convert --from=lpips'
      ' --src=vgg16.pth --heads=vgg.pth --dst=checkpoints/lpips` makes one',
      '--config.loss.perceptual_path to that folder, or'
      ' --config.loss.perceptual_weight to 0',
  )


def check_images(data: sections.Data) -> None:
  """Checks that a source has images, which an RQ-VAE trains on and encodes.

  Args:
    data: The section `data` of an experiment.

  Raises:
    ValueError: If it has none.
  """
  require(
      'image' in source_table.SOURCES[data.source].provides,
      f'config.data.source={data.source!r}',
      'has no images, which an RQ-VAE trains on and encodes; possible are'
      f' {source_table.providing("image")}',
      '--config.data.source',
  )


def _images(experiment: 'RQVAEExperiment') -> None:
  check_images(experiment.data)


def _data_path(experiment: 'Experiment', *others: str) -> None:
  """Asks for paths that have no default: of the data, and others if unset."""
  data = experiment.data
  unset = [f'--config.{name}' for name in others]
  if source_table.SOURCES[data.source].needs_path and data.path is None:
    unset.append('--config.data.path')
  if unset:
    raise ValueError(
        'This experiment has no default for what only you can know: set'
        f' {" and ".join(unset)}.'
    )


def _paths(experiment: 'RQTransformerExperiment') -> None:
  _data_path(experiment, *(['tokenizer'] if not experiment.tokenizer else []))


def _texts(experiment: 'RQTransformerExperiment') -> None:
  source = experiment.data.source
  require(
      not experiment.model.text_vocab_size
      or 'tokens' in source_table.SOURCES[source].provides,
      f'config.model.text_vocab_size={experiment.model.text_vocab_size} with'
      f' config.data.source={source!r}',
      'is a model of texts on data without texts; sources with texts:'
      f' {source_table.providing("tokens")}',
      '--config.data.source, or --config.model.text_vocab_size and'
      ' --config.model.text_length to 0',
  )


def _label_dropout(experiment: 'RQTransformerExperiment') -> None:
  dropped = experiment.loss.label_dropout
  require(
      dropped == 0 or experiment.model.null_class,
      f'config.loss.label_dropout={dropped}',
      'needs a null class to replace labels by',
      '--config.model.null_class to True',
  )


def _condition_weight(experiment: 'RQTransformerExperiment') -> None:
  weight = experiment.loss.condition_weight
  require(
      weight == 0 or experiment.model.text_vocab_size > 0,
      f'config.loss.condition_weight={weight}',
      'needs a text to predict, but the model is not conditioned on texts',
      '--config.loss.condition_weight to 0',
  )
