"""Rejection sampling as a job: draws many images, and keeps the best.

For each class, the m images of the job are the best m of m / rate draws, by the
log-probability that a classifier gives to the class (VQGAN, Section 4.4; the
paper's best figures use a rate of 5 %). The same draws are kept as by
`Sampler.rejection_sample`.

The job first scores all draws, in chunks, class by class. It keeps their codes,
which take a few hundred bytes per draw. The codes of the accepted draws are
then decoded again. This costs less than drawing them again, and the images stay
the same if other devices continue the job.
"""

from collections.abc import Iterator
import dataclasses
import functools
import json
from typing import Any

from etils import epath
import jax
import numpy as np

from rq_jax import files
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.distributed import processes
from rq_jax.evaluation import class_scores
from rq_jax.evaluation import classifier_classes
from rq_jax.evaluation import classifiers
from rq_jax.jobs import chunks
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.jobs.sample import draws as draws_lib
from rq_jax.models import rqtransformer
from rq_jax.sampling import Sampler
from rq_jax.sampling import selection

_NUM_DRAWS = 2**32  # Random numbers of a seed have 32-bit indices.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rejection:
  """How to choose among draws.

  Attributes:
    rate: Share of the draws to keep, in (0, 1].
    classifier: The classifier that scores images.
    origin: Folder of the classifier.
    classes: The classifier's classes that count as right, for each class of the
      generator; None if both have the same classes.

  Raises:
    ValueError: If the rate is out of range.
  """

  rate: float
  classifier: classifiers.Classifier
  origin: str
  classes: tuple[tuple[int, ...], ...] | None = None

  def __post_init__(self):
    selection.check_rate(self.rate, '--accept')

  def check(self, drawing: drawing_lib.Drawing) -> None:
    """Raises a ValueError if images of a job cannot be scored."""
    prior = drawing.sampler.prior
    _require_classes(prior, self.rate)
    have = self.classifier.num_classes
    if self.classes is None and have != prior.num_classes:
      raise ValueError(
          f'--classifier={self.origin} has {have} classes, but this model has'
          f' {prior.num_classes}. Give'
          ' --classifier_classes, or a classifier of the same classes.'
      )
    needed = self.pools(drawing).rounds * drawing.conditions.num_images
    if needed > _NUM_DRAWS:
      raise ValueError(
          f'--accept={self.rate} needs up to {needed} draws for'
          f' {drawing.conditions.num_images} images, but a seed has'
          f' {_NUM_DRAWS}. Draw fewer images per job, or raise --accept.'
      )

  def pools(self, drawing: drawing_lib.Drawing) -> selection.Pools:
    """Which draws compete for which images of a job."""
    return selection.pools(_labels(drawing)[:, None], self.rate)

  def described(self) -> dict[str, Any]:
    """All values that decide which draws are kept, and `classifier`."""
    return {
        'accept': self.rate,
        'classifier': str(self.origin),
        'classifier_fingerprint': self.classifier.fingerprint,
        'classifier_classes': self.classes and json.dumps(self.classes),
    }

  def scores(self, images: jax.Array, labels: np.ndarray) -> np.ndarray:
    """Log-probabilities of classes: uint8[B, Y, X, 3], int[B] -> float32[B].

    Raises:
      ValueError: If the classifier returns numbers that are not finite.
    """
    logits = self.classifier(images)['logits']
    if not np.isfinite(logits).all():
      raise ValueError(
          f'--classifier={self.origin} returned numbers that are not finite.'
          ' Convert the classifier again, or use another one.'
      )
    classes = [self.classes[n] if self.classes else (n,) for n in labels]
    found = class_scores.log_probabilities(logits, classes)
    return found.astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """Scores the draws of a sampling job, and decodes the accepted ones.

  Attributes:
    drawing: The images of the job, and how to draw them.
    rejection: How to choose among the draws.
    folder: Folder of the job.
  """

  drawing: drawing_lib.Drawing
  rejection: Rejection
  folder: epath.Path

  @functools.cached_property
  def draws(self) -> draws_lib.Draws:
    """The files of the draws."""
    return draws_lib.Draws(
        folder=self.folder,
        pools=self.rejection.pools(self.drawing),
        chunk_size=self.drawing.chunk_size,
        record=draws_lib.record(self.drawing.sampler.prior),
    )

  def run(self, space: int) -> None:
    """Scores the missing draws, and selects; all processes take part.

    Args:
      space: Bytes that the images of the job will need.

    Raises:
      Interrupted: After the current chunk, if a signal to stop came.
      DiskFullError: If there is no space for the draws and the images.
      ValueError: If the classifier returns numbers that are not finite.
    """
    draws = self.draws
    processes.only_first(
        lambda: files.require_space(self.folder, draws.missing_bytes() + space)
    )
    chunks.run(
        chunks.Job(
            name='score',
            made='scored',
            unit='draw',
            folder=self.folder,
            sizes=[len(draws.chunk(c)) for c in range(draws.num_chunks)],
            finished=draws.finished,
            work=self._score,
            finish=draws.select,
            is_complete=draws.complete,
        )
    )
    described, _ = draws.accepted()
    mean = described['mean_probability']
    console.tell(
        f'Accepted {len(described["indices"])} of {described["draws"]} draws.'
        ' The classifier gives their classes a mean probability of'
        f' {mean["of_accepted_draws"]:.3f}; of all draws,'
        f' {mean["of_all_draws"]:.3f}.'
    )

  def images(self, numbers: Iterator[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decodes chunks of accepted draws; see `drawing.Drawing.chunks`."""
    size, sampler = self.drawing.chunk_size, self.drawing.sampler
    _, codes = self.draws.accepted()

    def start(number):
      rows = np.minimum(number * size + self._rows, len(codes) - 1)
      sharding = sampler.mesh and partitioning.batch_sharding(sampler.mesh)
      chunk = jax.device_put(codes[rows].astype(np.int32), sharding)
      return tokenizer_lib.decode_known(sampler.tokenizer, chunk)

    for number, images in drawing_lib.one_ahead(numbers, start, 'the decoder'):
      yield number, np.asarray(images)[:size][: len(codes) - number * size]

  def _score(
      self, numbers: Iterator[int], check: chunks.Check
  ) -> Iterator[int]:
    """Draws, scores and writes chunks; yields their sizes."""
    del check  # A chunk takes little time.
    drawing, draws = self.drawing, self.draws
    key, labels = jax.random.key(drawing.seed), _labels(drawing)

    def start(number):
      rows = draws.chunk(number).start + self._rows
      images, indices = draws.pools.draws(
          np.minimum(rows, draws.pools.total - 1)
      )
      codes = drawing.sampler.codes(
          key,
          sampling=drawing.sampling,
          labels=labels[images],
          indices=indices,
      )
      pixels = tokenizer_lib.decode_known(drawing.sampler.tokenizer, codes)
      return codes, pixels, labels[images]

    for number, drawn in drawing_lib.one_ahead(numbers, start, 'the sampler'):
      codes, pixels, asked = drawn
      count = len(draws.chunk(number))
      scores = self.rejection.scores(pixels, asked)
      draws.write(number, scores[:count], np.asarray(codes)[:count])
      yield count

  @functools.cached_property
  def _rows(self) -> np.ndarray:
    """0, 1, ..., for a batch; all batches have one size, so one program."""
    mesh = self.drawing.sampler.mesh
    split = 1 if mesh is None else partitioning.batch_parallelism(mesh)
    count = min(self.drawing.chunk_size, self.draws.pools.total)
    return np.arange(-(-count // split) * split)


def restore(
    rate: float, path: str, classes: str | None, *, sampler: Sampler
) -> Rejection:
  """Restores the classifier onto the devices of a sampler.

  Args:
    rate: Share of the draws to keep.
    path: Folder of the classifier.
    classes: File that maps the classes; see `classifier_classes.read`.
    sampler: The generator.

  Raises:
    ValueError: If there is no such classifier, or it does not suit the model.
  """
  _require_classes(sampler.prior, rate)
  classifier = classifiers.restore(path, sampler.mesh)
  mapped = None
  if classes is not None:
    mapped = classifier_classes.read(
        classes,
        sampler.class_names,
        sampler.prior.num_classes,
        known=classifier.num_classes,
    )
  return Rejection(
      rate=rate, classifier=classifier, origin=path, classes=mapped
  )


def _require_classes(prior: rqtransformer.RQTransformer, rate: float) -> None:
  if not prior.num_classes:
    kind = 'draws from texts' if prior.text_vocab_size else 'is unconditional'
    raise ValueError(
        f'--accept={rate} has no meaning here: it keeps the images whose class'
        f' is most probable, but this model {kind}. Leave out --accept.'
    )


def _labels(drawing: drawing_lib.Drawing) -> np.ndarray:
  """Classes of all images of a job, int32[N]."""
  labels = drawing.conditions.labels
  assert labels is not None  # `Rejection.check` refuses other models.
  return labels
