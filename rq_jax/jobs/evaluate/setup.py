"""Puts an evaluation together: its images, metrics, networks and results."""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from rq_jax import files
from rq_jax.config import sizes
from rq_jax.distributed import processes
from rq_jax.evaluation import dialects as dialects_lib
from rq_jax.evaluation import references
from rq_jax.jobs import manifest
from rq_jax.jobs.evaluate import class_maps
from rq_jax.jobs.evaluate import finishing
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import job as job_lib
from rq_jax.jobs.evaluate import listed_images
from rq_jax.jobs.evaluate import plan as plan_lib
from rq_jax.jobs.evaluate import request as request_lib
from rq_jax.jobs.evaluate import restoring


def check(
    *,
    out: str,
    save_reference: str | None = None,
    metrics: Sequence[str] | None,
    dialects: Sequence[str],
    networks: Mapping[str, str],
    reference: image_sets.ImageSet | None = None,
    statistics: references.Reference | None = None,
    compares_pairs: bool = False,
    prompts: Sequence[str] | None = None,
) -> None:
  """Refuses what is not possible with any samples, before a model is restored.

  Arguments are those of `Request`.

  Raises:
    ValueError: If what is asked for is not possible, the images of the
      reference have different sizes, or a path cannot be written.
  """
  has_reference = reference is not None or compares_pairs
  plan = plan_lib.make(
      metrics,
      _dialects(dialects),
      plan_lib.Given(
          networks=frozenset(networks),
          statistics=_held(statistics),
          has_reference_images=has_reference,
          has_pairs=has_reference,
          compares_pairs=compares_pairs,
          has_prompts=prompts is not None,
      ),
  )
  restoring.check(plan, networks)
  _check_writable(out, save_reference)
  _check_sizes(out, reference)


def evaluate(request: request_lib.Request) -> tuple[dict[str, Any], str]:
  """Evaluates images that `check` has not refused; see `job.run`.

  Raises:
    ValueError: If what is asked for is not possible.
  """
  class_map = class_maps.ClassMap()
  if classifier := request.networks.get('classifier'):
    class_map = class_maps.find(request.samples, classifier, request.classes)
  plan = plan_lib.make(
      request.metrics,
      _dialects(request.dialects),
      _given(request, class_map.problem),
  )
  from_file = frozenset(
      measure.title
      for measure in plan.measures
      if request_lib.from_file(measure, request.statistics)
  )
  _check_saving(request, plan)
  _check_pairs(request, plan)
  _check_sizes(request.out, request.samples)
  restoring.check(plan, request.networks)
  restored = restoring.restore(plan, request.networks, from_file)
  work = finishing.Finish(
      request=request, plan=plan, restored=restored, classes=class_map.classes
  )
  evaluation = job_lib.Evaluation(
      folder=epath.Path(files.path(request.out, '--out')),
      samples=request.samples,
      networks=restored.of_samples,
      reference=request.reference,
      reference_networks=restored.of_reference,
      chunk_size=request.chunk_size,
      asked=work.asked(),
      finish=work.finish,
  )
  return job_lib.run(evaluation)


def _check_writable(out: str, save_reference: str | None) -> None:
  """Refuses paths to write to that cannot be written; creates nothing."""
  manifest.check_writable(files.path(out, '--out'), given=f'--out={out}')
  if save_reference is None:
    return
  given = f'--save_reference={save_reference}'
  file = epath.Path(files.path(save_reference, '--save_reference'))
  if file.is_dir():
    raise ValueError(f'{given} is a folder. Name a file in it.')
  manifest.check_writable(file.parent, given=given)


def _check_sizes(out: str, images: image_sets.ImageSet | None) -> None:
  """Refuses images of different sizes, before a job begins."""
  if not isinstance(images, listed_images.Listed):
    return  # The others have one size in any case.

  def begin() -> None:
    # The images of a job that has begun were compared when it began.
    if not (epath.Path(files.path(out, '--out')) / manifest.NAME).exists():
      images.check_sizes()

  processes.only_first(begin)


def _check_saving(request: request_lib.Request, plan: plan_lib.Plan) -> None:
  """Refuses --save_reference if there is not one set of features to save."""
  if request.save_reference is None:
    return
  networks = {m.network for m in plan.measures if m.metric == 'fid'}
  if request.reference is None or request.statistics is not None:
    raise ValueError(
        f'--save_reference={request.save_reference} needs the images of the'
        ' reference. Give images as --reference.'
    )
  if not networks:
    raise ValueError(
        f'--save_reference={request.save_reference} holds the statistics of'
        ' FID, which is not computed. Add fid to --metrics.'
    )
  if len(networks) > 1:
    names = ', '.join(request.dialects)
    raise ValueError(
        f'--save_reference={request.save_reference} holds the features of FID'
        f' in one dialect, but --dialect={names}. Give one dialect.'
    )


def _given(
    request: request_lib.Request, classes_problem: str | None
) -> plan_lib.Given:
  samples, reference = request.samples, request.reference
  return plan_lib.Given(
      networks=frozenset(request.networks),
      statistics=_held(request.statistics),
      has_reference_images=reference is not None,
      has_pairs=reference is not None and len(reference) == len(samples),
      compares_pairs=request.compares_pairs,
      has_prompts=request.prompts is not None,
      largest=max(len(samples), 0 if reference is None else len(reference)),
      classes_problem=classes_problem,
  )


def _held(statistics: references.Reference | None) -> frozenset[str]:
  """What a file of statistics holds, as `plan.Given` names it."""
  if statistics is None:
    return frozenset()
  arrays = {
      'pool': statistics.mean,
      'spatial': statistics.spatial_mean,
      'features': statistics.features,
  }
  return frozenset(n for n, array in arrays.items() if array is not None)


def _dialects(names: Sequence[str]) -> list[dialects_lib.Dialect]:
  """The dialects, each once."""
  return [dialects_lib.find(name) for name in dict.fromkeys(names)]


def _check_pairs(request: request_lib.Request, plan: plan_lib.Plan) -> None:
  """Refuses pairs of different sizes, before a network is restored."""
  pairs = [m.title for m in plan.measures if m.metric in plan_lib.PAIRS]
  # Reconstructions have the size of their originals.
  if not pairs or request.compares_pairs or request.reference is None:
    return
  found = request.samples.size(), request.reference.size()
  if found[0] != found[1]:
    raise ValueError(
        f'{pairs[0]} compares images pixel by pixel, but the samples have'
        f' {sizes.text(found[0])} pixels, and the images of the reference'
        f' {sizes.text(found[1])}. Set --image_size, or leave out'
        f' {", ".join(pairs)}.'
    )
