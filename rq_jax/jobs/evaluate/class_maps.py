"""Which classes of a classifier belong to the classes of the samples."""

from collections.abc import Sequence
from typing import NamedTuple

from rq_jax.evaluation import classifier_classes
from rq_jax.evaluation import classifiers
from rq_jax.jobs.evaluate import image_sets


class ClassMap(NamedTuple):
  """How the classes of samples and of a classifier correspond.

  Attributes:
    classes: The classifier's classes of each class of the samples; None if both
      have the same classes.
    problem: Why they do not correspond, as a clause for messages; None if they
      do.
  """

  classes: Sequence[Sequence[int]] | None = None
  problem: str | None = None


def find(
    samples: image_sets.ImageSet, classifier: str, file: str | None
) -> ClassMap:
  """Finds out how classes correspond, before a network is restored.

  Args:
    samples: Images, whose classes may be unknown.
    classifier: Folder of the classifier.
    file: File of --classifier_classes; None without one.

  Raises:
    ValueError: If a file cannot be used, or the folder holds no classifier.
  """
  known = classifiers.describe(classifier).fields['num_classes']
  if samples.labels is None:
    return ClassMap(problem='the classes of the samples are not known')
  highest = int(samples.labels.max()) + 1
  if file is not None:
    count = samples.num_classes or highest
    return ClassMap(
        classifier_classes.read(file, samples.class_names, count, known=known)
    )
  # Without their number, the highest label may not occur.
  count = samples.num_classes or max(highest, known)
  if count == known:
    return ClassMap()
  return ClassMap(
      problem=(
          f'the samples have {count} classes, and the network of --classifier'
          f' knows {known}. Say with --classifier_classes which of them belong'
          ' together'
      )
  )
