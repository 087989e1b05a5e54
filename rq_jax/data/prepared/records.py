"""The features of a prepared dataset, and the record of an example.

image       Image: the bytes of a JPEG, PNG or WebP file
file_name   Text
label       ClassLabel, if there are classes
text        Text, if there are texts
"""

import collections
from collections.abc import Sequence
from typing import Any


def features(
    *, num_classes: int, class_names: Sequence[str] | None, has_texts: bool
) -> Any:
  """The features of a dataset, a `tfds.features.FeaturesDict`.

  Args:
    num_classes: Number of classes; 0 if there are none.
    class_names: Names of the classes by label; None if they are unknown.
    has_texts: Whether the examples have texts.

  Raises:
    ValueError: If TFDS cannot store the names.
  """
  import tensorflow_datasets as tfds

  found: dict[str, Any] = {
      'image': tfds.features.Image(shape=(None, None, 3)),
      'file_name': tfds.features.Text(),
  }
  if class_names is not None:
    _check_names(class_names)
    found['label'] = tfds.features.ClassLabel(names=list(class_names))
  elif num_classes:
    found['label'] = tfds.features.ClassLabel(num_classes=num_classes)
  if has_texts:
    found['text'] = tfds.features.Text()
  return tfds.features.FeaturesDict(found)


class Encoder:
  """Encodes examples as records; several threads may use it."""

  def __init__(self, features: Any):
    """Takes the features that `features` returns."""
    from tensorflow_datasets.core import example_serializer

    self._features = features
    self._serializer = example_serializer.ExampleSerializer(
        features.get_serialized_info()
    )

  def __call__(
      self, content: bytes, name: str, label: int | None, text: str | None
  ) -> bytes:
    """The record of an example.

    Args:
      content: The bytes of the image file.
      name: Name of the file.
      label: Its class, if there are classes.
      text: Its text, if there are texts.
    """
    given = {
        'image': content,
        'file_name': printable(name),
        'label': label,
        'text': None if text is None else printable(text),
    }
    example = {key: given[key] for key in self._features}
    encoded = self._features.encode_example(example)
    message = self._serializer.get_tf_example(encoded)
    # Sorted, because the order of the features may differ between processes.
    return message.SerializeToString(deterministic=True)


def printable(name: str) -> str:
  r"""A name in UTF-8; what UTF-8 cannot encode is written as \udcXX."""
  return name.encode('utf-8', 'backslashreplace').decode()


def _check_names(names: Sequence[str]) -> None:
  """Checks names of classes; TFDS stores one per line and strips them."""
  wrong = [
      name
      for name in names
      if len(name.splitlines()) != 1 or name != name.strip() or _odd(name)
  ]
  counts = collections.Counter(names)
  wrong += sorted(name for name, count in counts.items() if count > 1)
  if wrong:
    raise ValueError(
        f'The class name {wrong[0]!r} cannot be stored. Names must differ, be'
        ' UTF-8, and have no line breaks and no spaces at their ends. Rename'
        ' the class.'
    )


def _odd(name: str) -> bool:
  return printable(name) != name
