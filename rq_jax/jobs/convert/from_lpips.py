"""Converts the weights of the perceptual loss."""

import collections

import jax.numpy as jnp
import numpy as np

from rq_jax import files
from rq_jax.checkpoints import inference_copy
from rq_jax.conversion import mapping
from rq_jax.conversion import state_dicts
from rq_jax.conversion import tables
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.jobs.convert import output
from rq_jax.models import build
from rq_jax.models import lpips


def from_torchvision(src: str, heads: str, dst: str) -> None:
  """Converts VGG16 and the linear heads of LPIPS for stage 1.

  Args:
    src: State dict of torchvision's VGG16; its classifier is not needed.
    heads: File of the linear heads: `vgg.pth` of taming-transformers, which is
      also `lpips/weights/v0.1/vgg.pth` in PyPI's package `lpips`.
    dst: Folder to write, for --config.loss.perceptual_path.

  Raises:
    ValueError: If a file is damaged, or lacks an array.
  """
  src, dst = files.path(src, 'src'), files.path(dst, 'dst')
  heads = files.path(heads, 'heads')
  network = lpips.LPIPS()
  abstract = partitioning.unbox(build.lpips_variables(network))
  rows = tables.lpips()
  with output.written_whole(dst) as partial:
    with (
        state_dicts.open_state_dict(src) as vgg,
        state_dicts.open_state_dict(heads) as linear,
    ):
      for file in (vgg, linear):
        if file.unwrapped:
          console.tell(f'{file.source.name}: {file.unwrapped}')
      files_by_name = collections.ChainMap(
          _starting(vgg, 'features.'), _starting(linear, 'lin')
      )
      found = {
          name: file.tensors[name].shape for name, file in files_by_name.items()
      }
      mapping.check(
          rows,
          mapping.shapes(abstract),
          found,
          f'--src={src} or --heads={heads}',
          model='the weights of LPIPS',
          advice='Give the files that --help describes.',
      )

      def read(name: str) -> np.ndarray:
        return files_by_name[name].read(name)

      flat = mapping.flatten(abstract)
      dtypes = {name: leaf.dtype for name, leaf in flat.items()}
      leaves = dict(mapping.to_ours(rows, read, dtypes))
    variables = mapping.unflatten(abstract, leaves)
    ramp = jnp.broadcast_to(
        jnp.linspace(-1.0, 1.0, 64, dtype=jnp.float32)[:, None], (1, 64, 64, 3)
    )
    distance = network.apply(variables, ramp, -ramp)
    output.require_finite(distance, 'the distance of two fixed images')
    inference_copy.write(partial, None, variables)
  console.tell(
      f'LPIPS {inference_copy.fingerprint(variables)}: the distance between a'
      f' ramp and its reverse is {float(distance[0]):.6f}. Wrote {dst}; give it'
      ' as --config.loss.perceptual_path.'
  )


def _starting(
    file: state_dicts.StateDict, prefix: str
) -> dict[str, state_dicts.StateDict]:
  """The file itself by each of its names that start with a prefix."""
  return {name: file for name in file.tensors if name.startswith(prefix)}
