"""A prepared dataset: its folder, and the descriptions that complete it.

job.json            the job that writes the folder; see `manifest`
NAME-SPLIT.array_record-00000-of-00002      the shards; see `prepared.shards`
features.json, label.labels.txt             for TFDS
refused.jsonl       images that were left out, if there are any
manifest.json       settings, number of images, hashes of all shards
dataset_info.json   for TFDS; written last
"""

from collections.abc import Sequence
import pathlib
from typing import Any

import jax

from rq_jax import files
from rq_jax import hashes
from rq_jax.data.prepared import folder as folder_lib
from rq_jax.data.prepared import manifest as manifest_lib
from rq_jax.data.prepared import metadata
from rq_jax.data.prepared import records
from rq_jax.distributed import console
from rq_jax.jobs import file_hashes
from rq_jax.jobs import manifest
from rq_jax.jobs import versions
from rq_jax.jobs.prepare import ledger
from rq_jax.jobs.prepare import shard as shard_lib

_LOCKS = ('.lock', '.heartbeat')  # Files of `locks`.


class Dataset:
  """A dataset that is being prepared.

  Attributes:
    folder: Its folder.
    name: Its name, which is part of the names of its files.
    shards: The shards of all splits, in order.
    features: Its features; see `records.features`.
  """

  def __init__(
      self,
      folder: pathlib.Path,
      name: str,
      shards: Sequence[shard_lib.Shard],
  ):
    """Describes a dataset, without touching its folder.

    Raises:
      ValueError: If the names of the classes cannot be stored.
    """
    self.folder, self.name, self.shards = folder, name, shards
    self._origin = shards[0].origin
    self.features = records.features(
        num_classes=self._origin.num_classes,
        class_names=self._origin.class_names,
        has_texts=self._origin.has_texts,
    )
    self._splits = {
        shard.split.name: {
            'rows': shard.split.num_rows,
            'shards': shard.split.num_shards,
            'listing': shard.origin.listing,
        }
        for shard in shards
        if not shard.number
    }

  def open_folder(self, settings: dict[str, Any], *, src: str) -> None:
    """Starts a dataset, or checks that the unfinished one can be continued.

    Args:
      settings: Options that decide the bytes of the shards.
      src: Where the images come from; this is only recorded.

    Raises:
      ValueError: If the folder holds something else, or another dataset.
    """
    manifest.open_folder(
        self.folder,
        self._described(settings) | {'src': src},
        prepare=self._check_empty,
        # The listings identify the data; the path may change.
        information=('src',),
    )

  def withdraw(self) -> None:
    """Removes `job.json` if no shard is finished."""
    if jax.process_index() == 0 and not self.read():
      for shard in self.shards:  # It may exist, but not be recorded.
        (self.folder / shard.name).unlink(missing_ok=True)
      (self.folder / manifest.NAME).unlink(missing_ok=True)

  def read(self) -> dict[str, ledger.Finished]:
    """The finished shards by name."""
    return ledger.read(self.folder, [shard.name for shard in self.shards])

  def finish(self, settings: dict[str, Any]) -> None:
    """Writes the descriptions; `settings` are those of `open_folder`.

    Raises:
      ValueError: If all images of a split were refused. No shard counts as
        finished then.
    """
    read = self.read()
    by_split: dict[str, list[ledger.Finished]] = {}
    for shard in self.shards:
      by_split.setdefault(shard.split.name, []).append(read[shard.name])
    try:
      for split, found in by_split.items():
        _check_some(split, found)
    except ValueError:
      # Otherwise, the folder would refuse the command with other options.
      for file in ledger.pending(self.folder):
        file.unlink()
      raise
    refused = ledger.write_refused(self.folder, read.values())
    written = {
        split: [shard.written for shard in found]
        for split, found in by_split.items()
    }
    info = metadata.write(self.folder, self.name, self.features, written)
    contents = {
        'version': manifest_lib.VERSION,
        **self._described(settings),
        'examples': {
            split: sum(shard.written.examples for shard in found)
            for split, found in by_split.items()
        },
        'refused': refused,
        'shards': [shard.fields() for shard in read.values()],
        **manifest_lib.described(
            self.folder, self._described_in(refused), info
        ),
    }
    files.write_json(self.folder / manifest_lib.NAME, hashes.seal(contents))
    files.write_json(self.folder / folder_lib.INFO, info)
    for file in ledger.pending(self.folder):
      file.unlink()

  def remove_damaged(self) -> None:
    """Removes damaged files, so that they are made again, and names them.

    Raises:
      ValueError: If the manifest is damaged, which holds all hashes.
    """
    wrong = ledger.remove_damaged(self.folder, self.read())
    if (self.folder / manifest_lib.NAME).exists():
      contents = manifest_lib.read(self.folder)
      described = manifest_lib.damaged_descriptions(self.folder, contents)
      if described:  # Without this file, the dataset is unfinished.
        (self.folder / folder_lib.INFO).unlink(missing_ok=True)
      wrong += described
    if wrong:
      console.tell(
          f'{self.folder}: {file_hashes.described(wrong)} damaged or missing,'
          ' and made again.'
      )

  def is_complete(self) -> bool:
    """Whether nothing is left to do."""
    described = (self.folder / folder_lib.INFO).exists()
    return described and not ledger.pending(self.folder)

  def held(self) -> list[int]:
    """Number of images in each shard; all shards must be finished."""
    read = self.read()
    return [read[shard.name].written.examples for shard in self.shards]

  def about_refused(self) -> str:
    """A sentence about images that were left out; empty if there are none."""
    count = sum(len(shard.refused) for shard in self.read().values())
    if not count:
      return ''
    return (
        f' Images left out because they cannot be read: {count}.'
        f' {self.folder / ledger.REFUSED} lists them.'
    )

  def _check_empty(self) -> None:
    """Refuses a folder that has anything in it, such as another dataset."""
    names = sorted(file.name for file in self.folder.iterdir())
    for name in names:
      if name not in _LOCKS and not name.endswith(files.PARTIAL):
        raise ValueError(
            f'--out={self.folder} is not empty: it contains {name}. Choose'
            ' another --out, or empty the folder.'
        )

  def _described_in(self, refused: int) -> list[str]:
    """Names of the files that describe the dataset, except for JSON of ours."""
    names = metadata.names(self.folder)
    return [*names, ledger.REFUSED] if refused else names

  def _described(self, settings: dict[str, Any]) -> dict[str, Any]:
    """All values that decide the bytes of the dataset; see `manifest`."""
    return {
        'name': self.name,
        **settings,
        'num_classes': self._origin.num_classes,
        'class_names': self._origin.class_names,
        'has_texts': self._origin.has_texts,
        'splits': self._splits,
        'versions': versions.of('array-record', 'pillow', 'rq_jax'),
    }


def _check_some(split: str, found: Sequence[ledger.Finished]) -> None:
  """Checks that a split has any image."""
  if not any(shard.written.examples for shard in found):
    reasons = [entry['reason'] for shard in found for entry in shard.refused]
    raise ValueError(
        f'No image of the split {split!r} can be read, so there is no dataset.'
        f' The first reason: {reasons[0]}'
    )
