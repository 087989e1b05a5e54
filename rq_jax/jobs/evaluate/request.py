"""What the user asks of an evaluation."""

from collections.abc import Mapping, Sequence
import dataclasses

from rq_jax.evaluation import references
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import plan as plan_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What the user asks for.

  Attributes:
    out: Folder of the job.
    samples: The images to judge.
    reference: The images to compare them with; None without them.
    statistics: The statistics to compare them with; None without a file.
    networks: Folders of the networks, by the flags that name them.
    metrics: Names of metrics; None for all that are possible.
    dialects: Names of dialects.
    compares_pairs: Whether samples are reconstructions of the reference.
    prompts: Texts of the samples, used in turn; None without texts.
    classes: File of --classifier_classes; None without one.
    intervals: Whether to compute intervals, and FID against N.
    save_reference: File for the statistics of the reference; None for no file.
    chunk_size: Number of images in a chunk.
  """

  out: str
  samples: image_sets.ImageSet
  reference: image_sets.ImageSet | None = None
  statistics: references.Reference | None = None
  networks: Mapping[str, str]
  metrics: Sequence[str] | None = None
  dialects: Sequence[str]
  compares_pairs: bool = False
  prompts: Sequence[str] | None = None
  classes: str | None = None
  intervals: bool = True
  save_reference: str | None = None
  chunk_size: int


def from_file(
    measure: plan_lib.Measure, held: references.Reference | None
) -> bool:
  """Whether the side of the reference comes from a file of statistics."""
  if held is None or not measure.network.startswith('inception'):
    return False
  if measure.metric == 'fid':
    return held.mean is not None
  if measure.metric == 'sfid':
    return held.spatial_mean is not None
  return measure.array == 'pool' and held.features is not None
