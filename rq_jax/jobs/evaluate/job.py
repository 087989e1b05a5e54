"""Evaluates images, as a job in chunks.

  OUT/job.json              description of the job; see `jobs.manifest`
  OUT/features/000000.npz   features of each chunk; see `chunk_files`
  OUT/results.json          the results
  OUT/report.html           the results as a page

The chunks of the samples come first, then those of the reference if it is given
as images. The results are computed from the files in the order of chunks, so
they depend neither on the devices nor on the processes that made the files, nor
on when they did.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import itertools
from typing import Any

from etils import epath
import jax

from rq_jax import files
from rq_jax import hashes
from rq_jax.distributed import console
from rq_jax.distributed import processes
from rq_jax.jobs import chunks
from rq_jax.jobs import file_hashes
from rq_jax.jobs import manifest
from rq_jax.jobs import versions
from rq_jax.jobs.evaluate import chunk_files
from rq_jax.jobs.evaluate import features
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import networks as networks_lib

RESULTS = 'results.json'
PAGE = 'report.html'

_PAGE_HASH = 'page_hash'  # The field of `RESULTS` with the hash of `PAGE`.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """An evaluation job.

  Attributes:
    folder: Folder of the job.
    samples: The images to judge.
    networks: What is computed of the samples.
    reference: The images to compare them with; None if there are none, or only
      their statistics.
    reference_networks: What is computed of the reference.
    chunk_size: Number of images in a chunk.
    asked: All values that decide the results, apart from the features.
    finish: Computes the results from the features of the samples and of the
      reference, and writes `PAGE`; returns what `RESULTS` holds. It calls its
      last argument regularly, see `chunks.Check`.
  """

  folder: epath.Path
  samples: image_sets.ImageSet
  networks: Sequence[networks_lib.Network]
  reference: image_sets.ImageSet | None
  reference_networks: Sequence[networks_lib.Network]
  chunk_size: int
  asked: dict[str, Any]
  finish: Callable[
      [features.Part, features.Part | None, chunks.Check], dict[str, Any]
  ]

  def parts(self) -> list[features.Part]:
    """The samples, and the reference if features of its images are needed."""
    samples = features.Part(
        images=self.samples,
        networks=self.networks,
        others=self.reference
        if any(network.of_pairs for network in self.networks)
        else None,
        chunk_size=self.chunk_size,
        folder=self.folder,
        first_chunk=0,
    )
    if self.reference is None or not self.reference_networks:
      return [samples]
    reference = dataclasses.replace(
        samples,
        images=self.reference,
        networks=self.reference_networks,
        others=None,
        first_chunk=len(samples.sizes),
    )
    return [samples, reference]

  def described(self) -> dict[str, Any]:
    """All values that decide the features; see `manifest.open_folder`."""

    def of(networks: Sequence[networks_lib.Network]) -> dict[str, Any]:
      return {
          network.name: {
              'arrays': dict(network.widths),
              **network.described,
          }
          for network in networks
      }

    return {
        'samples': self.samples.described(),
        'reference': self.reference and self.reference.described(),
        'networks': of(self.networks),
        'reference_networks': of(self.reference_networks),
        'chunk_size': self.chunk_size,
        'devices': (
            f'{jax.local_device_count()} x {jax.local_devices()[0].device_kind}'
        ),
        'versions': versions.of('jax', 'rq_jax'),
    }


def run(evaluation: Evaluation) -> tuple[dict[str, Any], str]:
  """Computes the missing features of a job, and its results.

  All processes of a program take part, each on all of its devices.

  Returns:
    What `RESULTS` holds, and a sentence with the number of images, the folder
    and the rate.

  Raises:
    ValueError: If the images cannot be read, or the folder holds another job.
    DiskFullError: Before anything is computed, if there is no space for the
      features.
    Interrupted: After the current chunk, if a signal to stop came.
  """
  folder, parts = evaluation.folder, evaluation.parts()
  manifest.open_folder(
      folder,
      evaluation.described(),
      prepare=lambda: _check_free(folder),
      # Other values identify the images and the models; their paths may change.
      information=('samples.path', 'reference.path', 'samples.originals.path'),
  )
  processes.only_first(lambda: _make_room(folder, parts))
  sizes = [size for part in parts for size in part.sizes]

  def finish(check: chunks.Check) -> None:
    found = evaluation.finish(parts[0], parts[1] if parts[1:] else None, check)
    found = {'asked': evaluation.asked, **found}
    sealed = hashes.seal(found | {_PAGE_HASH: hashes.of_file(folder / PAGE)})
    files.write_json(folder / RESULTS, sealed)

  def work(numbers: Iterator[int], check: chunks.Check) -> Iterator[int]:
    def is_reference(number: int) -> bool:
      return number >= len(parts[0].sizes)

    for other, own in itertools.groupby(numbers, is_reference):
      yield from parts[other].work(own, check)

  sentence = chunks.run(
      chunks.Job(
          name='evaluate',
          made='judged',
          folder=folder,
          sizes=sizes,
          finished=lambda: chunk_files.finished(folder),
          work=work,
          finish=finish,
          is_complete=lambda: _is_complete(evaluation),
      )
  )
  return _results(folder), sentence


def _is_complete(evaluation: Evaluation) -> bool:
  """Whether the results are those that are asked for now, and intact."""
  folder = evaluation.folder
  if not (folder / RESULTS).exists() or not (folder / PAGE).exists():
    return False
  try:
    found = _results(folder)
  except ValueError:  # They are damaged, and computed again.
    return False
  page = found.get(_PAGE_HASH)
  if manifest.has_hashes(folder) and page != hashes.of_file(folder / PAGE):
    return False
  return found.get('asked') == evaluation.asked


def _results(folder: epath.Path) -> dict[str, Any]:
  """What `RESULTS` holds, without its hash, which is compared."""
  file = folder / RESULTS
  return hashes.unsealed(files.read_json_object(file), file)


def _make_room(folder: epath.Path, parts: Sequence[features.Part]) -> None:
  """Removes damaged features, and checks the space for all missing ones."""
  if wrong := chunk_files.remove_damaged(folder):
    console.tell(
        f'{folder}: {file_hashes.described(wrong)} damaged, and made again.'
    )
  finished, needs, number = chunk_files.finished(folder), 0, 0
  for part in parts:
    for size in part.sizes:
      needs += 0 if number in finished else size * part.bytes_per_image
      number += 1
  free = files.free_bytes(folder)
  if needs and free is not None:
    console.tell(
        f'The features take {files.readable(needs)} in {folder};'
        f' {files.readable(free)} are free there.'
    )
  files.require_space(folder, needs)
  unfinished = folder / chunk_files.FOLDER
  for partial in unfinished.glob(f'*{files.PARTIAL}'):
    partial.unlink(missing_ok=True)


def _check_free(folder: epath.Path) -> None:
  """Refuses a folder whose files would be taken for those of this job."""
  for name in (chunk_files.FOLDER, RESULTS, PAGE):
    if (folder / name).exists():
      raise ValueError(
          f'--out={folder} holds {name}, but no {manifest.NAME} that describes'
          ' it. Choose an empty folder for --out.'
      )
