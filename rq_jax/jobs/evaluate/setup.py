"""Puts an evaluation together: its images, metrics, networks and results."""

from typing import Any

from etils import epath

from rq_jax import files
from rq_jax.evaluation import dialects as dialects_lib
from rq_jax.jobs.evaluate import class_maps
from rq_jax.jobs.evaluate import finishing
from rq_jax.jobs.evaluate import job as job_lib
from rq_jax.jobs.evaluate import plan as plan_lib
from rq_jax.jobs.evaluate import request as request_lib
from rq_jax.jobs.evaluate import restoring


def evaluate(request: request_lib.Request) -> tuple[dict[str, Any], str]:
  """Evaluates images; see `job.run`.

  Raises:
    ValueError: If what is asked for is not possible.
  """
  class_map = class_maps.ClassMap()
  if classifier := request.networks.get('classifier'):
    class_map = class_maps.find(request.samples, classifier, request.classes)
  plan = plan_lib.make(
      request.metrics,
      [dialects_lib.find(name) for name in request.dialects],
      _given(request, class_map.problem),
  )
  from_file = frozenset(
      measure.title
      for measure in plan.measures
      if request_lib.from_file(measure, request.statistics)
  )
  _check_saving(request, plan)
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


def _check_saving(request: request_lib.Request, plan: plan_lib.Plan) -> None:
  """Refuses --save_reference if there is not one set of features to save."""
  if request.save_reference is None:
    return
  networks = {m.network for m in plan.measures if m.metric in ('fid', 'sfid')}
  if request.reference is None or request.statistics is not None:
    raise ValueError(
        f'--save_reference={request.save_reference} needs the images of the'
        ' reference. Give images as --reference.'
    )
  if len(networks) != 1:
    names = ', '.join(request.dialects)
    raise ValueError(
        f'--save_reference={request.save_reference} holds the features of FID'
        f' in one dialect, but --dialect={names}. Give one dialect.'
    )


def _given(
    request: request_lib.Request, classes_problem: str | None
) -> plan_lib.Given:
  held = request.statistics
  arrays = () if held is None else (
      ('pool', held.mean),
      ('spatial', held.spatial_mean),
      ('features', held.features),
  )  # fmt: skip
  samples, reference = request.samples, request.reference
  return plan_lib.Given(
      networks=frozenset(request.networks),
      statistics=frozenset(n for n, array in arrays if array is not None),
      has_reference_images=reference is not None,
      has_pairs=reference is not None and len(reference) == len(samples),
      compares_pairs=request.compares_pairs,
      has_prompts=request.prompts is not None,
      largest=max(len(samples), 0 if reference is None else len(reference)),
      classes_problem=classes_problem,
  )
