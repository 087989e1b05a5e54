"""Manifests: what a checkpoint held when it was saved.

A manifest is an item of a checkpoint beside `state` and `meta`, so all three
are committed together. It records

  arrays    the shape, the dtype and the hash of every array of the state
  meta      the hash of the values in `meta`
  config    the values in the folder's `config.json`
  beside    the hashes of other files of the folder that decide results
  rq_jax    the version of this package
  hash      of all of the above; see `hashes`

`meta` has the entry 'manifest', so a manifest cannot disappear unnoticed.
Checkpoints of older versions have neither.
"""

from collections.abc import Mapping
import dataclasses
import sys
from typing import Any, NamedTuple

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from rq_jax import config as config_lib
from rq_jax import files
from rq_jax import hashes
from rq_jax.checkpoints import digests
from rq_jax.typing import PyTree

ITEM = 'manifest'  # The name of the item, and of the entry in `meta`.
VERSION = 1

_CONFIG = 'config.json'
# Files that are written once, and decide what a model returns.
_BESIDE = (
    'classes.json',
    'sampling.json',
    'network.json',
    'text_tokenizer.json',
    'tokenizer.json',
)
_TOKENIZER = 'tokenizer'  # The folder of a prior's own tokenizer.


class ChangedError(ValueError):
  """A checkpoint is not what was saved; the message names what has changed."""


class Array(NamedTuple):
  """An array of a state: its shape, its dtype, and its `digests.text`."""

  shape: tuple[int, ...]
  dtype: str
  hash: str


class Surroundings(NamedTuple):
  """The values in `config.json`, or None, and hashes of the files beside it."""

  config: Mapping[str, Any] | None
  beside: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What a checkpoint held when it was saved.

  Attributes:
    step: Step of the checkpoint; 0 for an inference copy.
    rq_jax: Version of the package that saved it.
    arrays: The arrays of the state, by dotted name.
    meta: Hash of the values in `meta`.
    around: Other files of the folder.
  """

  step: int
  rq_jax: str
  arrays: Mapping[str, Array]
  meta: str
  around: Surroundings


def flat(tree: PyTree) -> dict[str, Any]:
  """The arrays of a tree by dotted name, the same for saved and read trees."""
  leaves = ocp.tree.to_flat_dict(tree, sep='.')
  return {name: x for name, x in leaves.items() if hasattr(x, 'shape')}


def surroundings(folder: epath.PathLike) -> Surroundings:
  """Reads the files of a folder that decide what its models return.

  Raises:
    ValueError: If one of them is damaged.
  """
  folder, beside = epath.Path(folder), {}
  for name in _BESIDE:
    if (folder / name).exists():
      beside[name] = hashes.of_value(files.read_json(folder / name))
  own = folder / _TOKENIZER / 'checkpoints' / '0' / 'meta' / 'metadata'
  if own.exists():
    beside[_TOKENIZER] = files.read_json_object(own).get('fingerprint')
  config = folder / _CONFIG
  values = files.read_json_object(config) if config.exists() else None
  return Surroundings(config=values, beside=beside)


def make(
    step: int, state: PyTree, meta: Mapping[str, Any], around: Surroundings
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Makes the manifest of a checkpoint; waits until its arrays are hashed.

  Args:
    step: Step of the checkpoint; 0 for an inference copy.
    state: Arrays on devices or on the host, without random keys.
    meta: Further facts, as plain values.
    around: What `surroundings` returned.

  Returns:
    Plain values to save as `meta` and as `manifest`.
  """
  arrays = flat(state)
  found = jax.device_get(digests.of_arrays(arrays))
  meta = {**meta, ITEM: VERSION}
  values = {
      'step': step,
      'rq_jax': sys.modules[__name__.partition('.')[0]].__version__,
      'arrays': {
          name: [list(x.shape), str(x.dtype), digests.text(found[name])]
          for name, x in arrays.items()
      },
      'meta': hashes.of_value(meta),
      'config': around.config,
      'beside': around.beside,
  }
  return meta, hashes.seal(values)


def read(step: epath.Path, meta: Mapping[str, Any]) -> Manifest | None:
  """Reads the manifest of a checkpoint, and compares `meta` with it.

  Args:
    step: Folder of the checkpoint.
    meta: The values in its `meta`.

  Returns:
    The manifest; None if an older version saved the checkpoint.

  Raises:
    ChangedError: If the manifest is missing or damaged, is of another step, a
      newer version wrote it, or `meta` has changed.
  """
  where = step / ITEM
  if not where.exists() and ITEM not in meta:
    return None
  if not (where / 'metadata').is_file():
    raise ChangedError('its manifest is missing')
  raw = files.read_json_object(where / 'metadata')
  if not hashes.is_intact(raw):
    raise ChangedError('its manifest is damaged')
  if raw['meta'] != hashes.of_value(meta):
    raise ChangedError('its meta has changed since it was saved')
  if meta[ITEM] > VERSION:
    raise ChangedError(
        f'a newer version of rq_jax saved it ({raw["rq_jax"]}); install that'
    )
  if str(raw['step']) != step.name:
    raise ChangedError(f'it is the checkpoint of step {raw["step"]}')
  return Manifest(
      step=raw['step'],
      rq_jax=raw['rq_jax'],
      arrays={
          name: Array(tuple(shape), dtype, hash)
          for name, (shape, dtype, hash) in raw['arrays'].items()
      },
      meta=raw['meta'],
      around=Surroundings(raw['config'], raw['beside']),
  )


def check_listed(manifest: Manifest, listed: PyTree) -> None:
  """Compares the arrays that Orbax lists in a checkpoint with its manifest.

  Args:
    manifest: The manifest.
    listed: Orbax's metadata of the arrays.

  Raises:
    ChangedError: If an array is missing, or has another shape or dtype.
  """
  found = flat(listed)
  for name, array in manifest.arrays.items():
    other = found.get(name)
    if other is None:
      raise ChangedError(f'the array {name} is missing')
    # A damaged file may hold any values here.
    is_saved = list(other.shape or ()) == list(array.shape)
    if not is_saved or str(other.dtype) != array.dtype:
      raise ChangedError(
          f'the array {name} is {other.dtype}{list(other.shape or ())}, and was'
          f' {array.dtype}{list(array.shape)} when it was saved'
      )
  if unknown := sorted(found.keys() - manifest.arrays.keys()):
    raise ChangedError(f'the array {unknown[0]} is not in its manifest')


def check_arrays(manifest: Manifest, arrays: Mapping[str, Any]) -> None:
  """Compares arrays with their hashes; all processes get the same result.

  Args:
    manifest: The manifest.
    arrays: Arrays as they were saved, by dotted name.

  Raises:
    ChangedError: If an array has changed; the message names it.
  """
  if changed := changed_arrays(manifest, arrays):
    more = f', and {len(changed) - 1} more' if len(changed) > 1 else ''
    raise ChangedError(
        f'the array {changed[0]} has changed since it was saved{more}'
    )


def changed_arrays(manifest: Manifest, arrays: Mapping[str, Any]) -> list[str]:
  """Names of the arrays that differ from their hashes; see `check_arrays`."""
  found = jax.device_get(digests.of_arrays(dict(arrays)))
  return [
      name
      for name, array in arrays.items()
      if manifest.arrays[name]
      != (tuple(array.shape), str(array.dtype), digests.text(found[name]))
  ]


def check_config(manifest: Manifest, folder: epath.PathLike) -> None:
  """Compares `config.json` with the values when a checkpoint was saved.

  A run may be resumed with other values of resumable fields, so these count
  only in inference copies.

  Raises:
    ChangedError: If a field has changed; the message names it.
  """
  before, file = manifest.around.config, epath.Path(folder) / _CONFIG
  if before is None:
    return
  if not file.exists():
    raise ChangedError(f'{_CONFIG} is missing')
  now = files.read_json_object(file)
  if now == before:
    return
  changed = config_lib.changed(
      config_lib.parse_stored(before),
      config_lib.parse_stored(now),
      resumable=manifest.step == 0,
  )
  if changed:
    raise ChangedError(
        f'{_CONFIG} has changed since it was saved: {"; ".join(changed)}'
    )


def check_beside(manifest: Manifest, folder: epath.PathLike) -> None:
  """Compares the other files of a folder with those when it was saved.

  Files that were added later are not known, and do not count.

  Raises:
    ChangedError: If a file has changed; the message names it.
  """
  now = surroundings(folder).beside
  for name, value in manifest.around.beside.items():
    if name == _TOKENIZER and name not in now:
      continue  # Another copy may take its place, see `Sampler.restore`.
    if name not in now:
      raise ChangedError(f'{name} is missing')
    if now[name] != value:
      raise ChangedError(f'{name} has changed since it was saved')


def num_bytes(manifest: Manifest) -> int:
  """Total size of the arrays, uncompressed."""
  return sum(
      int(np.prod(array.shape, dtype=np.int64))
      * jax.numpy.dtype(array.dtype).itemsize
      for array in manifest.arrays.values()
  )
