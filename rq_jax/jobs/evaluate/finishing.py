"""The end of an evaluation: from features to results and a page."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import hashlib
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.distributed import console
from rq_jax.evaluation import class_scores
from rq_jax.evaluation import fingerprint
from rq_jax.evaluation import references
from rq_jax.jobs import chunks
from rq_jax.jobs import versions
from rq_jax.jobs.evaluate import distances
from rq_jax.jobs.evaluate import features
from rq_jax.jobs.evaluate import job as job_lib
from rq_jax.jobs.evaluate import looking
from rq_jax.jobs.evaluate import measuring
from rq_jax.jobs.evaluate import page
from rq_jax.jobs.evaluate import plan as plan_lib
from rq_jax.jobs.evaluate import request as request_lib
from rq_jax.jobs.evaluate import restoring


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finish:
  """Computes the results of an evaluation, when all features are there.

  Attributes:
    request: What the user asks for.
    plan: The metrics to compute.
    restored: The networks.
    classes: The classifier's classes of each class of the samples; None if both
      have the same classes.
  """

  request: request_lib.Request
  plan: plan_lib.Plan
  restored: restoring.Restored
  classes: Sequence[Sequence[int]] | None = None

  def asked(self) -> dict[str, Any]:
    """All values that decide the results, apart from the features."""
    request, held = self.request, self.request.statistics
    return {
        'metrics': [measure.title for measure in self.plan.measures],
        'intervals': request.intervals,
        'statistics': held and held.description.get('sha256'),
        'prompts': request.prompts and _hash('\n'.join(request.prompts)),
        'classes': request.classes
        and files.read_json(epath.Path(request.classes)),
        'save_reference': request.save_reference,
    }

  def finish(
      self,
      samples: features.Part,
      reference: features.Part | None,
      check: chunks.Check,
  ) -> dict[str, Any]:
    """Computes the results, and writes the page."""
    request = self.request
    comparison = distances.Comparison(
        samples=samples,
        reference=reference,
        statistics=request.statistics,
        intervals=request.intervals,
        check=check,
    )
    known = self._known()
    results, left_out = measuring.measure(self.plan.measures, comparison, known)
    described = {n.name: dict(n.described) for n in samples.networks}
    compared = self._compared(comparison, described)
    used = {
        _title(m, name): m for m in self.plan.measures for name in _names(m)
    }
    for result in results:
      measure = used[result['metric'], result['dialect']]
      result['fingerprint'] = fingerprint.describe(
          result['metric'],
          measure.dialect,
          count=result['n'],
          versions=versions.of(*fingerprint.PROGRAMS),
          extractors={measure.network: described[measure.network]},
          reference=compared.get(measure.network)
          if measure.needs_reference
          else None,
          images=_without_path(request.samples.described()),
          settings=self._settings(result['metric']),
      )
    found = {
        'images': {
            'samples': request.samples.described(),
            'reference': request.reference and request.reference.described(),
        },
        'results': results,
        'nearest': looking.copies(comparison),
        'classes': looking.best_and_worst(comparison, known),
        'left_out': self.plan.left_out | left_out,
        'remarks': self._remarks(),
    }
    if request.save_reference is not None:
      self._save(comparison, compared)
    page.write(epath.Path(samples.folder) / job_lib.PAGE, found, comparison)
    return found

  def _settings(self, metric: str) -> dict[str, Any]:
    """What decides a metric beyond its dialect and networks."""
    needed = {'clip_score': 'prompts', 'class_accuracy': 'classes'}.get(metric)
    return {needed: self.asked()[needed]} if needed else {}

  def _known(self) -> measuring.Known:
    """Labels, classes and texts of the samples."""
    scores = None
    if any(m.metric == 'class_accuracy' for m in self.plan.measures):
      scores = functools.partial(
          class_scores.of_each_class, classes=self.classes
      )
    return measuring.Known(
        labels=self.request.samples.labels,
        class_scores=scores,
        texts=self._texts(),
    )

  def _texts(self) -> Callable[[], np.ndarray] | None:
    clip, prompts = self.restored.clip, self.request.prompts
    if clip is None or prompts is None:
      return None

    def embed() -> np.ndarray:
      rows = np.arange(len(self.request.samples)) % len(prompts)
      return clip.text(prompts)[rows]

    return embed

  def _compared(
      self,
      comparison: distances.Comparison,
      described: Mapping[str, Mapping[str, Any]],
  ) -> dict[str, references.Reference]:
    """What was compared with, by network; saves it if the user asks for it."""
    request, found = self.request, {}
    for measure in self.plan.measures:
      name = measure.network
      if request_lib.from_file(measure, request.statistics):
        assert request.statistics is not None
        found[name] = request.statistics
      elif measure.needs_reference and name not in found:
        assert request.reference is not None
        found[name] = distances.reference_of(
            comparison, request.reference, name, described[name]
        )
    return found

  def _save(
      self,
      comparison: distances.Comparison,
      compared: Mapping[str, references.Reference],
  ) -> None:
    """Writes what the metrics need of the reference, for later evaluations."""
    path = self.request.save_reference
    assert path is not None
    # `setup` refuses other dialects of FID, which would need other features.
    measure = next(m for m in self.plan.measures if m.metric == 'fid')
    dialect, reference = measure.dialect, compared[measure.network]
    assert dialect is not None
    features = None
    if any(
        m.holds_features and m.name == measure.name for m in self.plan.measures
    ):
      features = comparison.reference_rows(measure.name)
    epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
    references.write(
        path,
        dataclasses.replace(
            reference,
            features=features,
            description={**reference.description, 'dialect': dialect.name},
        ),
    )
    what = 'statistics' if features is None else 'statistics and features'
    console.tell(f'Wrote the {what} of the reference to {path}.')

  def _remarks(self) -> list[str]:
    held = self.request.statistics
    if held is None:
      return []
    found = {m.dialect.name: m.dialect for m in self.plan.measures if m.dialect}
    sentences = [references.remarks(held, d) for d in found.values()]
    return list(dict.fromkeys(sum(sentences, [])))


def _hash(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def _names(measure: plan_lib.Measure) -> tuple[str, ...]:
  if measure.metric == 'precision_recall':
    return ('precision', 'recall')
  return (measure.metric,)


def _title(measure: plan_lib.Measure, name: str) -> tuple[str, str | None]:
  return name, measure.dialect and measure.dialect.name


def _without_path(identity: Mapping[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in identity.items() if name != 'path'}
