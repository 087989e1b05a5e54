"""Converts pretrained networks that metrics use."""

from collections.abc import Iterator, Sequence
import contextlib
import hashlib
import math
import pathlib
import re
import shutil
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import files
from rq_jax.checkpoints import networks
from rq_jax.conversion import frozen_graph
from rq_jax.conversion import mapping
from rq_jax.conversion import state_dicts
from rq_jax.conversion.tables import Row
from rq_jax.conversion.tables import Shapes
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.jobs.convert import classifier_package
from rq_jax.jobs.convert import network_table
from rq_jax.jobs.convert import output
from rq_jax.models import build
from rq_jax.typing import PyTree


class Weights(Protocol):
  """Named arrays in an open file, of any format."""

  @property
  def shapes(self) -> Shapes:
    """Shapes of the arrays, by name."""
    ...

  @property
  def unwrapped(self) -> str:
    """What was taken from the file and what was left out, as a sentence."""
    ...

  def read(self, name: str) -> np.ndarray:
    """The values of an array."""
    ...


def convert(kind: str, src: str | None, dst: str) -> None:
  """Converts the weights of a network for `rq_jax.checkpoints.networks`.

  The written network is read back: every array must equal its source bit by
  bit, and the outputs of the network for a fixed input must be finite.

  Args:
    kind: A key of `network_table.NETWORKS`.
    src: File of the weights; None for that of the installed package, see
      `classifier_package`.
    dst: Folder to write; it appears whole or not at all.

  Raises:
    ValueError: If the file is damaged, or holds another network.
    DiskFullError: If there is not enough space on the disk.
  """
  src = classifier_package.file(kind) if src is None else files.path(src, 'src')
  write(kind, network_table.NETWORKS[kind], src, files.path(dst, 'dst'))


def write(
    kind: str,
    network: network_table.Network,
    src: str,
    dst: str,
    *,
    companions: Sequence[pathlib.Path] = (),
) -> None:
  """Converts a network of a kind, as `network` describes it; see `convert`.

  Args:
    kind: The kind that `network.json` names.
    network: How it is converted.
    src: File of the weights.
    dst: Folder to write.
    companions: Files that are copied into the folder. Their hashes are stored.
  """
  with output.written_whole(dst) as partial, _open(src) as weights:
    if weights.unwrapped:
      console.tell(f'{src}: {weights.unwrapped}')
    theirs = {
        name: shape
        for name, shape in weights.shapes.items()
        if not re.fullmatch(network.unused, name)
    }
    model, fields = network.build(theirs)
    abstract = partitioning.unbox(
        build.network_variables(model, *network.inputs)
    )
    rows = network.rows(mapping.shapes(abstract), theirs)
    mapping.check(
        rows,
        mapping.shapes(abstract),
        theirs,
        f'--src={src}',
        model=f'the weights of {network.title}',
        advice=f'Give {network.source}.',
    )
    variables = mapping.unflatten(abstract, dict(_arrays(rows, weights)))
    _run(model, variables, network)
    for file in companions:
      shutil.copyfile(file, partial / file.name)
    sources = [_source(path) for path in (pathlib.Path(src), *companions)]
    described = networks.write(
        partial, kind, variables, sources=sources, fields=fields
    )
    written = networks.restore(partial, described, abstract)
    output.require_same(
        mapping.flatten(written), _arrays(rows, weights), partial, src
    )
  console.tell(
      f'{network.title} {described.fingerprint}: every array equals its source,'
      ' bit by bit.'
  )
  console.tell(_provenance(sources[0]['sha256'], network))
  console.tell(f'Wrote {dst}.')


def _open(src: str) -> contextlib.AbstractContextManager[Weights]:
  """Opens a file of weights; its first bytes decide which format it has."""
  if frozen_graph.is_frozen_graph(src):
    return frozen_graph.open_graph(src)
  return state_dicts.open_state_dict(src)


def _arrays(
    rows: list[Row], weights: Weights
) -> Iterator[tuple[str, np.ndarray]]:
  """Path and values of each of our arrays, all of which are float32."""
  dtypes = {name: np.dtype(np.float32) for row in rows for name in row.ours}
  return mapping.to_ours(rows, weights.read, dtypes)


def _run(model: Any, variables: PyTree, network: network_table.Network) -> None:
  """Computes the outputs of the network for a fixed input.

  Raises:
    ValueError: If they are not finite.
  """
  inputs = [_fixed(like) for like in network.inputs]
  outputs = jax.jit(model.apply)(variables, *inputs)
  for result in jax.tree.leaves(outputs):
    output.require_finite(result, 'the outputs for a fixed input')


def _fixed(like: jax.ShapeDtypeStruct) -> jax.Array:
  """Numbers from -1 to 1 for images, and 0 for tokens."""
  if jnp.issubdtype(like.dtype, jnp.integer):
    return jnp.zeros(like.shape, like.dtype)
  numbers = jnp.linspace(-1, 1, math.prod(like.shape), dtype=like.dtype)
  return numbers.reshape(like.shape)


def _source(path: pathlib.Path) -> dict[str, str]:
  """The name and the hash of a file."""
  with path.open('rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  return {'file': path.name, 'sha256': digest}


def _provenance(sha256: str, network: network_table.Network) -> str:
  """Whether the source is a published file, as a sentence."""
  for start, name in network.published.items():
    if sha256.startswith(start):
      return f'The source is {name} (SHA-256 {sha256}).'
  known = ', '.join(network.published.values()) or 'none'
  return (
      f'The source has the SHA-256 {sha256}, which is not that of a published'
      f' file that rq_jax knows ({known}).'
  )
