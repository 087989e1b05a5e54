"""Datasets in tar files, as webdataset and img2dataset write them."""

from rq_jax.data.tar_shards import finding
from rq_jax.data.tar_shards import samples as samples_lib
from rq_jax.data.tar_shards.samples import Samples
from rq_jax.distributed import console
from rq_jax.jobs.prepare import origins


class TarShards:
  """The samples of a split; see `origins.Origin`.

  Attributes:
    num_bytes: Bytes of all images.
    num_classes: Number of classes of all splits; 0 if there are no labels.
    class_names: Names of the classes by label; None if they are unknown.
    has_texts: Whether every sample of every split has a text.
    listing: SHA-256 of the names, sizes and labels of all samples.
  """

  def __init__(self, samples: Samples, *, has_texts: bool):
    """Wraps the samples of a split.

    Args:
      samples: The samples.
      has_texts: Whether the samples of all splits have texts.
    """
    self._samples = samples
    self.num_bytes = samples.num_bytes
    self.num_classes = samples.num_classes
    self.class_names = samples.class_names
    self.has_texts = has_texts
    self.listing = samples.listing

  def __len__(self) -> int:
    """Number of samples."""
    return len(self._samples)

  def __getitem__(self, index: int) -> origins.Raw:
    """A sample as it lies in the tar file.

    Raises:
      image_files.BrokenImageError: If its image or its text cannot be read.
      ValueError: If the tar file has changed.
    """
    samples = self._samples
    return origins.Raw(
        content=samples.image(index),
        name=samples.name(index),
        label=int(samples.table.labels[index]) if self.num_classes else None,
        text=samples.text(index) if self.has_texts else None,
    )


def open_splits(src: str) -> dict[str, TarShards]:
  """Opens the splits of a folder of tar files.

  Prints which samples and tar files are left out.

  Args:
    src: The folder; see `finding.find` for the splits.

  Raises:
    ValueError: If a tar file cannot be read, only some samples have labels, or
      a split has no image.
  """
  found = finding.find(src)
  train, held_out = samples_lib.open_all(found)
  opened = {finding.TRAIN: train}
  if found.held_out_name:
    opened[found.held_out_name] = held_out
  for split, samples in opened.items():
    if not len(samples):
      raise ValueError(
          f'--src={src} has no sample with an image in the {split} split. Give'
          ' the folder of a dataset with jpg, jpeg, png or webp files in its'
          ' tar files.'
      )
  notes = dict.fromkeys(n for s in opened.values() for n in s.notes)
  for note in notes:
    console.tell(note)
  texts = [split for split, samples in opened.items() if samples.has_texts]
  has_texts = len(texts) == len(opened)
  if texts and not has_texts:
    console.tell(
        f'Texts are left out, because only the {texts[0]} split has them.'
    )
  return {
      split: TarShards(samples, has_texts=has_texts)
      for split, samples in opened.items()
  }
