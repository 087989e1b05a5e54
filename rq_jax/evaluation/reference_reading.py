"""Reads the files of each layout of references; see `references`."""

import dataclasses
import json
import pathlib
import re
from typing import Any
import zipfile

import numpy as np

from rq_jax.conversion.torch_format import numpy_arrays
from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format.tensors import LazyTensor
from rq_jax.evaluation import moments
from rq_jax.evaluation import npz
from rq_jax.evaluation import reference_contents
from rq_jax.evaluation.reference_contents import Reference

DESCRIPTION = 'description'
_CLEAN = re.compile(
    r'.+_(clean|legacy_pytorch|legacy_tensorflow)(_clip_vit_b_32)?'
    r'_[a-z0-9]+_(\d+|na)(_kid)?'
)
# The dialect that has the same features as each mode of clean-fid.
_MODES = {
    'clean': 'clean-fid',
    'legacy_pytorch': 'pytorch-fid',
    'legacy_tensorflow': 'torch-fidelity',
}
_FIDELITY = re.compile(r'.+-(inception-v3-compat|vgg16)-(stat-fid|features)-.+')
_FIDELITY_NETWORKS = {'inception-v3-compat': 'inception', 'vgg16': 'vgg16'}


def is_torch(file: pathlib.Path) -> bool:
  """Whether a file is one of `torch.save`, by its suffix or its contents."""
  if file.suffix in ('.pt', '.pth'):
    return True
  try:
    with zipfile.ZipFile(file) as archive:
      return any(name.endswith('/data.pkl') for name in archive.namelist())
  except Exception:  # It is damaged; reading it as .npz says how.
    return False


def read_npz(file: pathlib.Path) -> Reference:
  """Reads an .npz file; its contents are not checked yet."""
  with npz.NpzFile(file) as stored:
    names = set(stored.shapes)

    def array(name: str) -> np.ndarray | None:
      if name not in names:
        return None
      reference_contents.check_type(stored, name)
      return stored.read(name)

    if not names & {'mu', 'feats', 'arr_0'} or ('mu' in names) != (
        'sigma' in names
    ):
      raise ValueError(
          f'--reference={file} holds the arrays {", ".join(sorted(names))}, but'
          ' a reference needs mu and sigma, feats, or arr_0. Give a .npz file'
          ' of ADM, pytorch-fid, clean-fid or rq_jax.'
      )
    description, count = _described(stored, file)
    return Reference(
        mean=_wide(array('mu')),
        covariance=_wide(array('sigma')),
        spatial_mean=_wide(array('mu_s')),
        spatial_covariance=_wide(array('sigma_s')),
        features=array('feats'),
        images=npz.StoredRows(stored, 'arr_0') if 'arr_0' in names else None,
        count=count,
        description=description,
    )


def _described(
    stored: npz.NpzFile, file: pathlib.Path
) -> tuple[dict[str, Any], int | None]:
  """The layout and what follows from it, and the number of images."""
  names = set(stored.shapes)
  if DESCRIPTION in names:
    try:
      said = json.loads(str(stored.read(DESCRIPTION)[()]))
      count = said.pop('count')
      return {**said, 'layout': 'rq_jax'}, count
    except (AttributeError, KeyError, TypeError, ValueError) as error:
      raise ValueError(
          f'--reference={file} has a description that cannot be read. Write it'
          ' again.'
      ) from error
  if 'mu_s' in names:
    return {'layout': 'adm', 'dialect': 'adm', 'network': 'inception'}, None
  if match := _CLEAN.fullmatch(file.stem.lower()):
    layout = 'clean-fid-kid' if 'feats' in names else 'clean-fid'
    # The features of CLIP are those of no dialect.
    dialect = None if match[2] else _MODES[match[1]]
    network = 'clip' if match[2] else 'inception'
    said = {'layout': layout, 'dialect': dialect, 'network': network}
    return said, None
  layout = 'clean-fid-kid' if 'feats' in names else 'pytorch-fid'
  return {'layout': layout if names != {'arr_0'} else 'images'}, None


def read_torch(file: pathlib.Path) -> Reference:
  """Reads a cache of torch-fidelity; its contents are not checked yet."""
  match = _FIDELITY.fullmatch(file.stem)
  description = {
      'layout': 'torch-fidelity',
      'dialect': 'torch-fidelity',
      'network': match and _FIDELITY_NETWORKS[match[1]],
  }
  with reading.TorchFile(file, arrays=True) as stored:
    tree = stored.tree
    if isinstance(tree, LazyTensor):
      return Reference(features=stored.read(tree), description=description)
    if isinstance(tree, dict) and tree.keys() == {'mu', 'sigma'}:
      arrays = [
          value.value
          for value in (tree['mu'], tree['sigma'])
          if isinstance(value, numpy_arrays.PickledArray)
      ]
      if len(arrays) == 2:
        mean, covariance = map(_wide, arrays)
        return Reference(
            mean=mean, covariance=covariance, description=description
        )
  raise ValueError(
      f'--reference={file} is a file of PyTorch, but not a cache of'
      ' torch-fidelity: neither the arrays mu and sigma nor one tensor of'
      ' features. Give a file whose name ends with -stat-fid-2048.pt or'
      ' -features-2048.pt.'
  )


def _wide(array: np.ndarray | None) -> np.ndarray | None:
  return None if array is None else array.astype(np.float64)


def with_statistics(found: Reference) -> Reference:
  """Adds the mean and covariance of the features.

  Raises:
    ValueError: If there are the features of only one image.
  """
  features = found.features
  if features is None or len(features) < 2:
    raise ValueError(
        '--reference holds the features of one image, but a covariance needs'
        ' two. Give a reference of more images.'
    )
  added = moments.Moments()
  added.add(features)
  sums = added.sums()
  return dataclasses.replace(
      found, mean=sums.mean, covariance=sums.covariance, count=sums.count
  )
