"""The datasets that `prepare` reads, in the form in which they are downloaded.

There is one module per value of `--from`: `folder`, `imagenet`, `lsun` and
`webdataset`. Each has a function that opens all splits of the dataset:

  open_splits(src: str) -> dict[str, Origin]

`src` is the value of `--src`. Keys are 'train' and, if there are held-out
images, 'validation' or 'test'; 'train' comes first. The function raises a
ValueError, before any image is read, if files are missing or are not
understood. `imagenet.open_splits` also takes the devkit.
"""

import importlib
from typing import Any, NamedTuple, Protocol

# Values of `--from` and names of modules in this package.
KINDS = ('folder', 'imagenet', 'lsun', 'webdataset')


class Raw(NamedTuple):
  """One example as it lies in the dataset.

  Attributes:
    content: The image file's bytes, not decoded.
    name: Name of the file, unique in its split. It stays the same when the
      dataset moves to another folder.
    label: Index of the class; None if the images have no classes.
    text: Caption of the image; None if the images have no captions.
  """

  content: bytes
  name: str
  label: int | None = None
  text: str | None = None


class Origin(Protocol):
  """The examples of one split, by index, in an order that never changes."""

  def __len__(self) -> int:
    """Number of examples."""
    ...

  def __getitem__(self, index: int) -> Raw:
    """Reads one example.

    Several threads call this at the same time.

    Raises:
      image_files.BrokenImageError: If the example cannot be read, but others
        may be; the message names it. Under `--on_error=skip`, this example is
        left out.
      OSError, ValueError: If the dataset cannot be read any further.
    """
    ...

  @property
  def num_bytes(self) -> int:
    """Size of all contents; it depends only on the data.

    It only decides the number of shards, so it may be an estimate, such as the
    size of a file that contains them.
    """
    ...

  @property
  def num_classes(self) -> int:
    """Number of classes, the same in all splits; 0 if there are no classes."""
    ...

  @property
  def class_names(self) -> tuple[str, ...] | None:
    """Names of the classes, by label; None if they are unknown."""
    ...

  @property
  def has_texts(self) -> bool:
    """Whether every example has a text."""
    ...

  @property
  def listing(self) -> str:
    """Hash that changes when examples are added, removed, renamed or reordered.

    A resumed job continues only if the hash is the same. The hash must not
    depend on the path of the dataset.
    """
    ...


def open_splits(kind: str, src: str, **options: Any) -> dict[str, Origin]:
  """Opens all splits of a dataset.

  Args:
    kind: One of `KINDS`.
    src: The dataset as it was downloaded.
    **options: Further arguments that only this kind takes.

  Raises:
    ValueError: If there is no such dataset.
  """
  module = importlib.import_module(f'{__package__}.{kind}')
  return module.open_splits(src, **options)
