"""The files of rejection sampling: scores and codes of all draws.

  OUT/draws/000000.npy ...     one chunk of draws, until all are scored
  OUT/draws/000000.json ...    its hash; see `jobs.file_hashes`
  OUT/accepted_codes.npy       codes of the accepted draws, in order of images
  OUT/accepted.json            their indices and scores

A draw takes a few hundred bytes, because its codes are kept in place of its
pixels. Every file appears whole or not at all.
"""

from collections.abc import Callable, Iterator
import dataclasses
import functools
import json
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.jobs import file_hashes
from rq_jax.models import rqtransformer
from rq_jax.sampling import selection

FOLDER = 'draws'
ACCEPTED = 'accepted.json'
CODES = 'accepted_codes.npy'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draws:
  """The draws of a job, which are counted through all pools, in chunks.

  Attributes:
    folder: Folder of the job.
    pools: Which draws compete for which images.
    chunk_size: Number of draws in a chunk; the last one may have fewer.
    record: Type of a draw: 'score', float32, and 'codes', integers[H, W, D].
  """

  folder: epath.Path
  pools: selection.Pools
  chunk_size: int
  record: np.dtype

  @property
  def num_chunks(self) -> int:
    """Number of chunks."""
    return -(-self.pools.total // self.chunk_size)

  def chunk(self, number: int) -> range:
    """Numbers of the draws of a chunk."""
    start = number * self.chunk_size
    return range(start, min(start + self.chunk_size, self.pools.total))

  @functools.cached_property
  def hashes(self) -> file_hashes.FileHashes:
    """The recorded hashes of the files."""
    return file_hashes.FileHashes(self.folder, (FOLDER,))

  def selected(self) -> bool:
    """Whether the accepted draws are on disk."""
    names = (ACCEPTED, CODES)
    there = all((self.folder / name).exists() for name in names)
    return there and self.hashes.has(names)

  def finished(self) -> set[int]:
    """Chunks that need not be drawn any more."""
    if self.selected():
      return set(range(self.num_chunks))
    folder = self.folder / FOLDER
    there = {file.name for file in folder.iterdir()} if folder.exists() else ()
    recorded = self.hashes.read()
    return {
        chunk
        for chunk in range(self.num_chunks)
        if f'{chunk:06d}.npy' in there
        and self.hashes.are_finished([f'{FOLDER}/{chunk:06d}.npy'], recorded)
    }

  def complete(self) -> bool:
    """Whether the accepted draws are on disk, and the others removed."""
    return self.selected() and not (self.folder / FOLDER).exists()

  def missing_bytes(self) -> int:
    """Bytes that missing chunks and the codes of accepted draws will need."""
    missing = set(range(self.num_chunks)) - self.finished()
    draws = sum(len(self.chunk(number)) for number in missing)
    if not self.selected():
      draws += len(self.pools.order)
    return draws * self.record.itemsize

  def write(self, number: int, scores: np.ndarray, codes: np.ndarray) -> None:
    """Writes a chunk: float32[n], int[n, H, W, D]."""
    rows = np.empty(len(scores), self.record)
    rows['score'], rows['codes'] = scores, codes
    (self.folder / FOLDER).mkdir(exist_ok=True)
    hashed = file_hashes.write_array(self._file(number), rows)
    self.hashes.record(number, {f'{FOLDER}/{self._file(number).name}': hashed})

  def select(self, check: Callable[[], None]) -> None:
    """Writes the accepted draws, and removes all others.

    All chunks must be finished. Holds the scores of one pool at a time, and the
    codes of the accepted draws.

    Args:
      check: Called regularly. If it raises, all chunks stay.
    """
    if not self.selected():
      numbers, scores, mean = self._best(check)
      kind = self.record['codes']
      codes = np.empty((len(numbers), *kind.shape), kind.base)
      for chunk in np.unique(numbers // self.chunk_size):
        check()
        rows = np.flatnonzero(numbers // self.chunk_size == chunk)
        codes[rows] = self._read(chunk)['codes'][
            numbers[rows] - chunk * self.chunk_size
        ]
      file_hashes.write_array(self.folder / CODES, codes)
      _, indices = self.pools.draws(numbers)
      described = {
          'draws': self.pools.total,
          'mean_probability': {
              'of_all_draws': mean,
              'of_accepted_draws': float(np.exp(scores, dtype=float).mean()),
          },
          'indices': indices.tolist(),
          'scores': scores.tolist(),
      }
      with files.whole(self.folder / ACCEPTED) as file:
        file.write(json.dumps(described).encode())
      names = (ACCEPTED, CODES)
      self.hashes.finish(names, written=names)
    (self.folder / FOLDER).rmtree(missing_ok=True)

  def accepted(self) -> tuple[dict[str, Any], np.ndarray]:
    """The contents of accepted.json, and the codes of all images."""
    described = files.read_json_object(self.folder / ACCEPTED)
    with (self.folder / CODES).open('rb') as file:
      return described, np.load(file)

  def _best(
      self, check: Callable[[], None]
  ) -> tuple[np.ndarray, np.ndarray, float]:
    """The draws of all images, their scores, and the mean probability."""
    numbers = np.empty(len(self.pools.order), np.int64)
    scores = np.empty(len(self.pools.order), np.float32)
    total = 0.0
    for group, pool in enumerate(self._scores()):
      check()
      images = self.pools.members(group)
      best = selection.best(pool, len(images))
      numbers[images] = self.pools.range(group).start + best
      scores[images] = pool[best]
      total += float(np.exp(pool, dtype=float).sum())
    return numbers, scores, total / self.pools.total

  def _scores(self) -> Iterator[np.ndarray]:
    """Yields the scores of each pool: float32[size]."""
    read = functools.lru_cache(maxsize=1)(self._read)
    for group in range(len(self.pools.counts)):
      pool, parts = self.pools.range(group), []
      first = pool.start // self.chunk_size
      for number in range(first, (pool.stop - 1) // self.chunk_size + 1):
        chunk = self.chunk(number)
        begin = max(pool.start - chunk.start, 0)
        parts.append(read(number)['score'][begin : pool.stop - chunk.start])
      yield np.concatenate(parts)

  def _read(self, number: int) -> np.ndarray:
    with self._file(number).open('rb') as file:
      return np.load(file)

  def _file(self, number: int) -> epath.Path:
    return self.folder / FOLDER / f'{number:06d}.npy'


def record(prior: rqtransformer.RQTransformer) -> np.dtype:
  """The type of a draw of a model; see `Draws`."""
  code = '<u2' if max(prior.sizes) <= 2**16 else '<i4'
  return np.dtype([('score', '<f4'), ('codes', code, prior.code_shape)])
