"""The rules that an experiment must follow to be trained, one function each.

The sections of an experiment check what can be built; see `model_rules`.
"""

from collections.abc import Callable
import math
import numbers
from typing import TYPE_CHECKING

from rq_jax.config import accumulation_rules
from rq_jax.config import retention_rules
from rq_jax.config import sample_rules
from rq_jax.config import sections
from rq_jax.config import sizes
from rq_jax.config import source_table
from rq_jax.config.model_rules import require

if TYPE_CHECKING:  # At run time, this would be a circular import.
  from rq_jax.config.experiment import Experiment
  from rq_jax.config.experiment import RQTransformerExperiment
  from rq_jax.config.experiment import RQVAEExperiment


def check(experiment: 'Experiment', *, with_data: bool = True) -> None:
  """Checks that an experiment can be trained.

  Args:
    experiment: An experiment that can be built.
    with_data: Whether the data and the weights that are not trained (LPIPS, the
      tokenizer) must be set. A plan (`--dry_run`) does not need them.

  Raises:
    ValueError: If the experiment breaks a rule; the message is about the first
      broken rule.
  """
  for rule in (_learning_rate, _duration, _mesh, _float16, _counts):
    rule(experiment)
  stage: list[Callable[..., None]]
  with_paths: list[Callable[..., None]]
  if experiment.stage == 1:
    stage = [_images, _image_size, _feature_map, _attention, _adversary,
             _perceptual, sample_rules.no_reference]  # fmt: skip
    with_paths = [_data_path, _perceptual_path, sample_rules.reconstructed]
  else:
    stage = [_label_dropout, _condition_weight]
    with_paths = [_paths, _texts, sample_rules.drawn]
  stage += [retention_rules.possible, accumulation_rules.possible]
  for rule in [*stage, *(with_paths if with_data else [])]:
    rule(experiment)


def check_seed(seed: int) -> None:
  """Checks the seed of a command, in the same way as the seed of an experiment.

  JAX also accepts larger and negative integers, but keeps only 32 bits of them
  (unless JAX_ENABLE_X64 is set). Two seeds could then give the same numbers.

  Raises:
    ValueError: If the seed is not a whole number in [0, 2**32).
  """
  require(
      isinstance(seed, numbers.Integral) and 0 <= seed < 2**32,
      f'seed={seed}',
      'must be a whole number in [0, 2**32), because random keys are made from'
      ' 32 bits',
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
      '--config.train.steps or --config.train.epochs (None unsets a field)',
  )


def _mesh(experiment: 'Experiment') -> None:
  sizes = vars(experiment.mesh)
  for axis, size in sizes.items():
    require(
        size != 0,
        f'config.mesh.{axis}={size}',
        'must be positive, or -1 for all remaining devices',
        f'--config.mesh.{axis}',
    )
  remaining = [axis for axis, size in sizes.items() if size == -1]
  require(
      len(remaining) <= 1,
      ' and '.join(f'config.mesh.{axis}=-1' for axis in remaining),
      'are set, but only one axis can take all remaining devices',
      ' or '.join(f'--config.mesh.{axis}' for axis in remaining),
  )


def _float16(experiment: 'Experiment') -> None:
  for name in ('model', 'discriminator'):
    section = getattr(experiment, name, None)
    require(
        section is None or section.dtype != 'float16',
        f'config.{name}.dtype={"float16"!r}',
        'is not possible in training: losses are not scaled, so small gradients'
        ' would become 0',
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
      f'gives {codes} codes per step and {words} codewords. Their sum must be'
      ' less than 2**31, because codes are counted in 32 bits',
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
  model = experiment.model
  height, width = model.feature_map
  levels = len(model.channel_multipliers)
  require(
      model.code_shape[:2] == (height, width),
      f'config.model.code_shape={model.code_shape}',
      f'must begin with {height}, {width}, because {levels} levels make a'
      f' feature map of {height}x{width} positions from'
      f' {sizes.text(model.image_size)} pixels',
      '--config.model.code_shape, --config.model.image_size or'
      ' --config.model.channel_multipliers',
  )


def _attention(experiment: 'RQVAEExperiment') -> None:
  model = experiment.model
  levels = range(len(model.channel_multipliers))
  shorter = min(sizes.pair(model.image_size))
  possible = [shorter // 2**level for level in levels]
  wrong = [r for r in model.attention_resolutions if r not in possible]
  require(
      not wrong,
      f'config.model.attention_resolutions={model.attention_resolutions}',
      f'contains {wrong and wrong[0]}, but no level has this resolution. The'
      f' levels have the resolutions {", ".join(map(str, possible))}',
      '--config.model.attention_resolutions',
  )


def _adversary(experiment: 'RQVAEExperiment') -> None:
  size, layers = experiment.model.image_size, experiment.discriminator.layers
  if experiment.loss.adversarial_weight == 0:
    return
  # Each layer halves the resolution; two further convolutions lose a row each.
  shorter = min(sizes.pair(size))
  most = max((n for n in range(1, 32) if shorter >> n >= 3), default=0)
  require(
      layers <= most,
      f'config.discriminator.layers={layers} with config.model.image_size='
      f'{size}',
      f'must not exceed {most}, because more layers would leave nothing of the'
      ' image',
      '--config.discriminator.layers',
  )


def _perceptual(experiment: 'RQVAEExperiment') -> None:
  weight, size = experiment.loss.perceptual_weight, experiment.model.image_size
  require(
      weight == 0 or min(sizes.pair(size)) >= 16,
      f'config.model.image_size={size} with'
      f' config.loss.perceptual_weight={weight}',
      'must be at least 16 on each side, because LPIPS halves images four'
      ' times',
      '--config.model.image_size, or --config.loss.perceptual_weight to 0',
  )


def _perceptual_path(experiment: 'RQVAEExperiment') -> None:
  loss = experiment.loss
  require(
      loss.perceptual_weight == 0 or loss.perceptual_path is not None,
      f'config.loss.perceptual_weight={loss.perceptual_weight}',
      'needs config.loss.perceptual_path, the folder of a converted LPIPS'
      ' network. Its weights do not come with rq_jax; convert them with `python'
      ' -m rq_jax convert --from=lpips --src=vgg16.pth --heads=vgg.pth'
      ' --dst=checkpoints/lpips`',
      '--config.loss.perceptual_path to that folder, or'
      ' --config.loss.perceptual_weight to 0',
  )


def check_images(data: sections.Data) -> None:
  """Checks that the data source has images, which an RQ-VAE needs.

  Args:
    data: The section `data` of an experiment.

  Raises:
    ValueError: If the source has no images.
  """
  require(
      'image' in source_table.SOURCES[data.source].provides,
      f'config.data.source={data.source!r}',
      'has no images, but an RQ-VAE trains on images and encodes them. Sources'
      f' with images: {source_table.providing("image")}',
      '--config.data.source',
  )


def _images(experiment: 'RQVAEExperiment') -> None:
  check_images(experiment.data)


def _data_path(experiment: 'Experiment', *others: str) -> None:
  """Requires the path of the data, if the source needs one, and other paths.

  Args:
    experiment: The experiment.
    *others: Names of further fields that are not set, but must be.
  """
  data = experiment.data
  unset = [f'--config.{name}' for name in others]
  if source_table.SOURCES[data.source].needs_path and data.path is None:
    unset.append('--config.data.path')
  if unset:
    raise ValueError(
        'This experiment needs paths that only you can know. Set'
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
      'describes a text-conditional model on data without texts. Sources with'
      f' texts: {source_table.providing("tokens")}',
      '--config.data.source, or --config.model.text_vocab_size and'
      ' --config.model.text_length to 0',
  )


def _label_dropout(experiment: 'RQTransformerExperiment') -> None:
  dropped = experiment.loss.label_dropout
  require(
      dropped == 0 or experiment.model.null_class,
      f'config.loss.label_dropout={dropped}',
      'needs a null class, which replaces the dropped labels',
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
