"""Converts pretrained networks that metrics use."""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import hashlib
import pathlib
import re
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import files
from rq_jax.checkpoints import networks
from rq_jax.conversion import frozen_graph
from rq_jax.conversion import inception_tables
from rq_jax.conversion import mapping
from rq_jax.conversion import state_dicts
from rq_jax.conversion.tables import Row
from rq_jax.conversion.tables import Shapes
from rq_jax.distributed import console
from rq_jax.jobs.convert import from_official
from rq_jax.models import inception
from rq_jax.typing import PyTree


class Weights(Protocol):
  """Named arrays in an open file.

  Attributes:
    shapes: Shapes of the arrays, by name.
    unwrapped: What was taken from the file and what was left out, as a
      sentence; empty if the file holds just these arrays.
  """

  @property
  def shapes(self) -> Shapes:
    ...

  @property
  def unwrapped(self) -> str:
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
    open: Opens --src.
    published: Names of published files, by their SHA-256.
  """

  title: str
  source: str
  build: Callable[[Shapes], tuple[Any, dict[str, Any]]]
  inputs: tuple[jax.ShapeDtypeStruct, ...]
  rows: Callable[[Shapes, Shapes], list[Row]]
  unused: str = r'.*\.num_batches_tracked'
  open: Callable[[str], contextlib.AbstractContextManager[Weights]] = (
      state_dicts.open_state_dict
  )
  published: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _images(size: int) -> jax.ShapeDtypeStruct:
  """The shape of one image, float32[1, size, size, 3]."""
  return jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)


def _open_inception(path: str):
  if frozen_graph.is_frozen_graph(path):
    return frozen_graph.open_graph(path)
  return state_dicts.open_state_dict(path)


def _inception_rows(ours: Shapes, theirs: Shapes) -> list[Row]:
  graph = any(name.startswith('softmax/') for name in theirs)
  table = inception_tables.graph if graph else inception_tables.state_dict
  return table(ours)


NETWORKS = {
    'inception': Network(
        title='InceptionV3',
        source=(
            'pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or'
            ' classify_image_graph_def.pb of TensorFlow'
        ),
        build=lambda shapes: (inception.InceptionV3(), {}),
        inputs=(_images(inception.SIZE),),
        rows=_inception_rows,
        open=_open_inception,
        published={
            '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2':
            'pt_inception-2015-12-05-6726825d.pth of pytorch-fid',
        },
    ),
}
