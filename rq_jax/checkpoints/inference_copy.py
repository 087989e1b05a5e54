"""Writes models for inference, and identifies them by their contents.

An inference copy is a folder like that of a run, with `config.json`, the names
of the classes if they are known, and one checkpoint, of step 0, that holds only
the variables of the model.
"""

from collections.abc import Sequence
import hashlib
import json

from etils import epath
import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp

from rq_jax import files
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import manifests
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.typing import Variables

# Collections that a fingerprint covers; those of a discriminator do not count.
_NAMED = ('params', 'codebook')
_WRITTEN_AT_ONCE_GB = 1


def export(
    path: epath.PathLike,
    config: Experiment | None,
    variables: Variables,
    *,
    classes: Sequence[str] | None = None,
) -> None:
  """Writes an inference copy.

  The copy appears whole or not at all, and replaces one that exists. Only one
  process of a program may write it. Writing needs memory for a second copy of
  the variables.

  Args:
    path: Folder of the copy.
    config: The experiment of the model; None for a network that has none.
    variables: Collections of arrays, on host or devices.
    classes: Names of the classes by label; None if they are unknown.

  Raises:
    DiskFullError: If there is no room for the copy.
  """
  with files.whole_folder(epath.Path(path).resolve(), replace=True) as partial:
    write(partial, config, variables, classes=classes)


def write(
    folder: epath.PathLike,
    config: Experiment | None,
    variables: Variables,
    *,
    classes: Sequence[str] | None = None,
) -> None:
  """Writes an inference copy into a folder that nobody reads yet.

  Files that belong to the copy, such as `sampling.json`, must be in the folder
  already, so that its manifest covers them. Arguments are those of `export`.

  Raises:
    DiskFullError: If there is no room for the copy.
  """
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
  files.require_space(folder, size)
  step = epath.Path(folder).resolve() / 'checkpoints' / '0'
  step.mkdir(parents=True)
  if config is not None:
    stored.write_config(folder, config)
  class_names.write(folder, classes)
  this = jax.process_index()
  alone = ocp.options.MultiprocessingOptions(this, {this}, 'alone')
  handler = ocp.PyTreeCheckpointHandler(
      save_concurrent_gb=_WRITTEN_AT_ONCE_GB,
      use_compression=False,  # It saves little, and doubles the memory.
      multiprocessing_options=alone,
  )
  with ocp.Checkpointer(handler, multiprocessing_options=alone) as writer:
    writer.save(
        step / 'state', ocp.args.PyTreeSave(jax.device_get(dict(variables)))
    )
  meta, manifest = manifests.make(
      0,
      dict(variables),
      {'fingerprint': fingerprint(variables)},
      manifests.surroundings(folder),
  )
  for item, values in (('meta', meta), (manifests.ITEM, manifest)):
    (step / item).mkdir()
    (step / item / 'metadata').write_text(json.dumps(values))


def fingerprint(variables: Variables) -> str:
  """Hash of the contents of variables: 16 hexadecimal digits of a SHA-256.

  It covers names, shapes and values, as float32, of all parameters and
  codebooks. It does not depend on where they are placed.
  """
  digest = hashlib.sha256()
  named = {n: variables[n] for n in _NAMED if n in variables}
  leaves = jax.tree_util.tree_leaves_with_path(
      flax.serialization.to_state_dict(named)
  )
  for name, leaf in sorted(
      (jax.tree_util.keystr(keys), leaf) for keys, leaf in leaves
  ):
    value = np.ascontiguousarray(np.asarray(leaf, np.float32))
    digest.update(f'{name} {value.shape} '.encode())
    digest.update(value.data)
  return digest.hexdigest()[:16]


def check_fingerprint(path: epath.PathLike, expected: str) -> None:
  """Checks that an inference copy has the expected fingerprint.

  Raises:
    ValueError: If it has another one.
  """
  meta = epath.Path(path) / 'checkpoints' / '0' / 'meta' / 'metadata'
  found = files.read_json_object(meta).get('fingerprint')
  if found != expected:
    raise ValueError(
        f'The tokenizer has fingerprint {expected}, but the model was trained'
        f' with {found}. Codes of one mean nothing to the other. Change the'
        f' path of the tokenizer to {path}, the copy that belongs to the model.'
    )
