"""Flags of the classifier that judges whether images show their classes."""

from absl import flags

from rq_jax.cli import command


def define(values: flags.FlagValues, *, use: str) -> None:
  """Adds the folder of the classifier, and which of its classes are right.

  Args:
    values: The flags of the command.
    use: What the classifier is for, as a sentence.
  """
  command.define_path(
      'classifier',
      None,
      f'Folder of a classifier that `convert` wrote. {use}',
      values,
  )
  command.define_path(
      'classifier_classes',
      None,
      'With --classifier: JSON file that maps the name or number of each class'
      ' of the images to a list of numbers of classes of the classifier; by'
      ' default, both have the same classes.',
      values,
  )
