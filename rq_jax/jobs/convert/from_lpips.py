"""Converts the weights of the perceptual loss."""

import collections
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from rq_jax import files
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.conversion import mapping
from rq_jax.conversion import state_dicts
from rq_jax.conversion import tables
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.jobs.convert import output
from rq_jax.models import build
from rq_jax.models import lpips
from rq_jax.typing import Variables


def from_torchvision(src: str, heads: str, dst: str) -> None:
  """Converts VGG16 and the linear heads of LPIPS for stage 1.

  The written network is read back: every array must equal its source bit by
  bit, and the distance of two fixed images must be finite.

  Args:
    src: State dict of torchvision's VGG16; its classifier is not needed.
    heads: File of the linear heads: `vgg.pth` of taming-transformers, which is
      also `lpips/weights/v0.1/vgg.pth` in PyPI's package `lpips`.
    dst: Folder to write, for --config.loss.perceptual_path.

  Raises:
    ValueError: If a file is damaged, or lacks an array.
    DiskFullError: If there is not enough space on the disk.
  """
  src, dst = files.path(src, 'src'), files.path(dst, 'dst')
  heads = files.path(heads, 'heads')
  network = lpips.LPIPS()
  abstract = partitioning.unbox(build.lpips_variables(network))
  rows = tables.lpips()
  sources = f'--src={src} or --heads={heads}'
  with (
      output.written_whole(dst) as partial,
      state_dicts.open_state_dict(src) as vgg,
      state_dicts.open_state_dict(heads) as linear,
  ):
    for file in (vgg, linear):
      if file.unwrapped:
        console.tell(f'{file.source.name}: {file.unwrapped}')
    files_by_name = collections.ChainMap(
        _starting(vgg, 'features.'), _starting(linear, 'lin')
    )
    mapping.check(
        rows,
        mapping.shapes(abstract),
        {name: f.tensors[name].shape for name, f in files_by_name.items()},
        sources,
        model='the weights of LPIPS',
        advice='Give the files that --help describes.',
    )
    flat = mapping.flatten(abstract)
    dtypes = {name: leaf.dtype for name, leaf in flat.items()}

    def arrays() -> Iterator[tuple[str, np.ndarray]]:
      return mapping.to_ours(rows, lambda n: files_by_name[n].read(n), dtypes)

    variables = mapping.unflatten(abstract, dict(arrays()))
    distance = _distance(network, variables)
    inference_copy.write(partial, None, variables)
    written, _ = stored.restore_variables(partial, abstract)
    output.require_same(mapping.flatten(written), arrays(), partial, sources)
  console.tell(
      f'LPIPS {inference_copy.fingerprint(variables)}: every array equals its'
      ' source, bit by bit. The distance between a ramp and its reverse is'
      f' {distance:.6f}. Wrote {dst}; give it as --config.loss.perceptual_path.'
  )


def _distance(network: lpips.LPIPS, variables: Variables) -> float:
  """The distance between a ramp and its reverse.

  Raises:
    ValueError: If it is not finite.
  """
  ramp = jnp.broadcast_to(
      jnp.linspace(-1.0, 1.0, 64, dtype=jnp.float32)[:, None], (1, 64, 64, 3)
  )
  distance = network.apply(variables, ramp, -ramp)
  output.require_finite(distance, 'the distance of two fixed images')
  return float(distance[0])


def _starting(
    file: state_dicts.StateDict, prefix: str
) -> dict[str, state_dicts.StateDict]:
  """The file itself by each of its names that start with a prefix."""
  return {name: file for name in file.tensors if name.startswith(prefix)}
