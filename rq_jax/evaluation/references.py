"""Statistics and features of real images, in the files of every tool.

| layout | file | arrays |
|---|---|---|
| `adm` | .npz | `mu`, `sigma`, `mu_s`, `sigma_s`, `arr_0`: uint8 images |
| `pytorch-fid` | .npz | `mu`, `sigma`; also the authors of RQ-VAE |
| `clean-fid` | `{name}_{mode}_{split}_{size}.npz` | `mu`, `sigma` |
| `clean-fid-kid` | `..._kid.npz` | `feats`: features of all images |
| `torch-fidelity` | .pt | `mu`, `sigma`; or the features of all images |
| `rq_jax` | .npz | those of `adm`, `feats`, and a `description` |

Tools that read `mu` and `sigma` also read the layout `rq_jax`. Nothing in a
file is executed.
"""

import dataclasses
import json
import pathlib
import pickle
from typing import Any
import zipfile

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.evaluation import known
from rq_jax.evaluation import npz
from rq_jax.evaluation import reference_contents
from rq_jax.evaluation import reference_reading
from rq_jax.evaluation.dialects import DIALECTS
from rq_jax.evaluation.dialects import Dialect
from rq_jax.evaluation.reference_contents import Reference

# Arrays of the layouts of `write`, by the fields of `Reference`.
_MOMENTS = {'mu': 'mean', 'sigma': 'covariance'}
_SPATIAL = {'mu_s': 'spatial_mean', 'sigma_s': 'spatial_covariance'}
_LAYOUTS = {
    'adm': _MOMENTS | _SPATIAL | {'arr_0': 'images'},
    'pytorch-fid': _MOMENTS,
    'clean-fid': _MOMENTS,
    'clean-fid-kid': {'feats': 'features'},
    'torch-fidelity': _MOMENTS,
    'rq_jax': _MOMENTS,
}
_OPTIONAL = {'rq_jax': _SPATIAL | {'feats': 'features'}}
# Entries of a description that `read` finds out itself.
_OF_FILE = ('file', 'sha256', 'layout', 'known')


def read(path: epath.PathLike) -> Reference:
  """Reads a reference in any of the layouts.

  If there are features without statistics, the statistics are computed.

  Raises:
    ValueError: If the file has none of the layouts, is damaged, or holds
      statistics that cannot be: wrong shapes, values that are not finite, a
      covariance that is not symmetric or has a negative variance.
  """
  file = pathlib.Path(files.path(path, '--reference'))
  if not file.is_file():
    raise ValueError(
        f'--reference={path} is not a file. Give a .npz file of ADM,'
        ' pytorch-fid, clean-fid or rq_jax, or a .pt file of torch-fidelity.'
    )
  is_torch = reference_reading.is_torch(file)
  found = (
      reference_reading.read_torch(file)
      if is_torch
      else reference_reading.read_npz(file)
  )
  reference_contents.check(found, file)
  if found.mean is None and found.features is not None:
    found = reference_reading.with_statistics(found)
  digest = known.sha256(file)
  published = known.reference(digest)
  description = {
      'file': file.name,
      'sha256': digest,
      'known': published and published.name,
      'dialect': None,
      'network': None,
      **found.description,
  }
  if published:
    description['dialect'] = published.dialect
  return dataclasses.replace(found, description=description)


def write(
    path: epath.PathLike, reference: Reference, *, layout: str = 'rq_jax'
) -> None:
  """Writes a reference, which appears whole or not at all.

  Args:
    path: The file. torch-fidelity and clean-fid find files by their names.
    reference: What to write. Its description is written in the layout 'rq_jax';
      there, it should say 'dialect', 'network', 'weights' and 'sources'.
    layout: One of those in the table above. 'torch-fidelity' is the cache of
      statistics.

  Raises:
    DiskFullError: If there is no room for the file.
    ValueError: If the layout is unknown, or needs a part that is missing.
  """
  if layout not in _LAYOUTS:
    raise ValueError(
        f'{layout=} is unknown. Choose from {", ".join(_LAYOUTS)}.'
    )
  reference_contents.check(reference, path)
  found: dict[str, Any] = {
      name: getattr(reference, field)
      for name, field in _LAYOUTS[layout].items()
  }
  if missing := [name for name, value in found.items() if value is None]:
    raise ValueError(
        f'{layout=} needs {", ".join(missing)}, which this reference lacks.'
        ' Choose another layout.'
    )
  if layout == 'torch-fidelity':
    _write_torch(path, found)
    return
  for name, field in _OPTIONAL.get(layout, {}).items():
    if (value := getattr(reference, field)) is not None:
      found[name] = value
  if layout == 'rq_jax':
    ours = {
        name: value
        for name, value in reference.description.items()
        if name not in _OF_FILE and value is not None
    }
    ours['count'] = reference.count
    text = json.dumps(ours, sort_keys=True)
    found[reference_reading.DESCRIPTION] = np.array(text)
  npz.write(files.path(path, 'path'), found)


def _write_torch(path: epath.PathLike, found: dict[str, np.ndarray]) -> None:
  """Writes a cache that torch-fidelity reads, which compares the types."""
  arrays = {
      'mu': found['mu'].astype(np.float32),
      'sigma': found['sigma'].astype(np.float64),
  }
  # NumPy 2 pickles so that NumPy 1.26 and later read it.
  data = pickle.dumps(arrays, protocol=2)
  with (
      files.whole(files.path(path, 'path'), needs=len(data)) as stream,
      zipfile.ZipFile(stream, 'w') as archive,
  ):
    for name, value in {
        'data.pkl': data,
        'byteorder': b'little',
        'version': b'3\n',
    }.items():
      archive.writestr(zipfile.ZipInfo(f'archive/{name}'), value)


def remarks(reference: Reference, dialect: Dialect) -> list[str]:
  """What a user should know before a reference is used with a dialect.

  Sentences on an unknown file, and on a reference of another dialect, whose
  distance from features of this one means little.
  """
  said = reference.description
  found = []
  if said.get('layout') != 'rq_jax' and not said.get('known'):
    found.append(
        f'{said["file"]} (SHA-256 {said["sha256"][:16]}...) is no published'
        ' file that rq_jax knows. Check that it holds the images you mean.'
    )
  other = DIALECTS.get(said.get('dialect') or '')
  if other and not dialect.shares_features(other):
    suited = [d.name for d in DIALECTS.values() if d.shares_features(other)]
    found.append(
        f'{said["file"]} was made in the dialect {other.name}, but'
        f' --dialect={dialect.name} resizes and scales images differently. The'
        f' distance includes that difference. Use --dialect={suited[0]}'
        f'{"".join(f" or {name}" for name in suited[1:])}, or another'
        ' reference.'
    )
  return found
