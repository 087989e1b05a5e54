"""Which metrics an evaluation computes, and why it leaves out others."""

from collections.abc import Sequence
import dataclasses

from rq_jax.evaluation import dialects as dialects_lib
from rq_jax.evaluation import rows as feature_rows
from rq_jax.evaluation.dialects import Dialect

# Metrics of a single image, of pairs, and of networks without dialects.
PAIRS = ('psnr', 'ssim', 'lpips')
OTHERS = ('clip_score', 'clip_fid', 'class_accuracy', 'classifier_fid')
METRICS = (*dialects_lib.METRICS, *PAIRS, *OTHERS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
  """What the flags of an evaluation give.

  Attributes:
    networks: Flags of networks that are given: 'inception', 'vgg16', 'clip',
      'lpips', 'classifier'.
    statistics: What a statistics file as reference holds: 'pool' and 'spatial'
      for their means and covariances, 'features' for the rows of 'pool'.
    has_reference_images: Whether the images of the reference are there.
    has_pairs: Whether the reference has one image for each sample.
    compares_pairs: Whether pairs are compared by default, as reconstructions
      with their originals are.
    has_prompts: Whether every sample has a prompt.
    largest: Number of the samples, or of the images of the reference if these
      are more.
    classes_problem: Why the classifier cannot tell whether samples show their
      classes, as a clause; None if it can.
  """

  networks: frozenset[str]
  statistics: frozenset[str] = frozenset()
  has_reference_images: bool = False
  has_pairs: bool = False
  compares_pairs: bool = False
  has_prompts: bool = False
  largest: int = 0
  classes_problem: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
  """A metric to compute.

  Attributes:
    metric: One of `METRICS`.
    dialect: How its tool computes it; None for metrics without dialects.
    network: First part of the names of the arrays that it reads.
    array: Last part of these names.
    needs_reference: Whether it compares the samples with a reference.
  """

  metric: str
  dialect: Dialect | None = None
  network: str
  array: str
  needs_reference: bool = True

  @property
  def name(self) -> str:
    """Name of the arrays in the files of a job."""
    return f'{self.network}/{self.array}'

  @property
  def holds_features(self) -> bool:
    """Whether it needs the features of all images at the same time."""
    return self.metric in ('kid', 'precision_recall')

  @property
  def title(self) -> str:
    """The metric and its dialect, for messages."""
    return (
        f'{self.metric} ({self.dialect.name})' if self.dialect else self.metric
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """The metrics to compute, and why others are left out.

  Attributes:
    measures: The metrics to compute.
    left_out: Sentences by metric.
  """

  measures: Sequence[Measure]
  left_out: dict[str, str]


def make(
    asked: Sequence[str] | None, dialects: Sequence[Dialect], given: Given
) -> Plan:
  """Decides which metrics are computed.

  Args:
    asked: The metrics that the user asks for; None for all that are possible.
    dialects: The dialects.
    given: What the flags give.

  Raises:
    ValueError: If a metric is unknown, a metric that is asked for is not
      possible, or none is; or if there are no dialects.
  """
  if not dialects or asked is not None and not asked:
    flag, known = '--metrics', METRICS
    if not dialects:
      flag, known = '--dialect', tuple(dialects_lib.DIALECTS)
    raise ValueError(f'{flag} is empty. Choose from {", ".join(known)}.')
  if unknown := [metric for metric in asked or () if metric not in METRICS]:
    raise ValueError(
        f'--metrics={unknown[0]} is unknown. Choose from {", ".join(METRICS)}.'
    )
  found, left_out = [], {}
  for metric in METRICS if asked is None else dict.fromkeys(asked):
    measures = _measures(metric, dialects)
    if not measures:
      names = ', '.join(dialect.name for dialect in dialects)
      left_out[metric] = f'no dialect of --dialect={names} defines it'
    for measure in measures:
      reason = _missing(measure, given, by_default=asked is None)
      if reason is None:
        found.append(measure)
      else:
        left_out[measure.title] = reason
  if asked is not None and left_out:
    title, reason = next(iter(left_out.items()))
    raise ValueError(f'--metrics: {title} is not possible: {reason}.')
  if not found:
    reasons = '; '.join(f'{name}: {why}' for name, why in left_out.items())
    raise ValueError(f'There is nothing to compute. {reasons}.')
  return Plan(measures=found, left_out=left_out)


def _measures(metric: str, dialects: Sequence[Dialect]) -> list[Measure]:
  """The metric in each dialect that defines it."""
  if metric in dialects_lib.METRICS:
    return [_of_dialect(metric, d) for d in dialects if metric in d.metrics]
  network, array = {
      'psnr': ('pixels', 'psnr'),
      'ssim': ('pixels', 'ssim'),
      'lpips': ('lpips', 'distance'),
      'clip_score': ('clip', 'image'),
      'clip_fid': ('clip', 'image'),
      'class_accuracy': ('classifier', 'logits'),
      'classifier_fid': ('classifier', 'pool'),
  }[metric]
  return [
      Measure(
          metric=metric,
          network=network,
          array=array,
          needs_reference=metric not in ('clip_score', 'class_accuracy'),
      )
  ]


def _of_dialect(metric: str, dialect: Dialect) -> Measure:
  array = {'sfid': 'spatial', 'is': 'logits'}.get(metric, 'pool')
  network = f'inception_{dialect.resize}'
  if metric == 'precision_recall' and dialect.precision_recall is not None:
    array = dialect.precision_recall.features
    network = f'{dialect.precision_recall.network}_{dialect.resize}'
  return Measure(
      metric=metric,
      dialect=dialect,
      network=network,
      array=array,
      needs_reference=metric != 'is',
  )


def _missing(measure: Measure, given: Given, *, by_default: bool) -> str | None:
  """What a metric lacks, as a clause for messages; None if nothing."""
  network = measure.network.partition('_')[0]
  if network != 'pixels' and network not in given.networks:
    return f'--{network} is not given'
  metric = measure.metric
  if metric in PAIRS:
    if by_default and not given.compares_pairs:
      return 'it compares pairs of images; name it in --metrics to compute it'
    if not given.has_pairs:
      return 'the reference must have one image for each sample'
  elif metric == 'clip_score' and not given.has_prompts:
    return '--prompts is not given'
  elif metric == 'class_accuracy' and given.classes_problem:
    return given.classes_problem
  elif measure.holds_features and given.largest > feature_rows.MAX_FEATURES:
    return (
        'it holds the features of all images in memory, at most'
        f' {feature_rows.MAX_FEATURES:,}, and there are {given.largest:,}'
        ' images'
    )
  if not measure.needs_reference or given.has_reference_images:
    return None
  if metric in ('fid', 'sfid') and measure.array in given.statistics:
    return None
  if measure.array == 'pool' and 'features' in given.statistics:
    return None
  if given.statistics:
    return f'the statistics of --reference do not hold what {metric} needs'
  return '--reference is not given'
