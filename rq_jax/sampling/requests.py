"""What is asked of a model becomes what the decode loop draws.

The one path there: keyword arguments (`Asked`) are checked (`ask`) and become
arrays (`Request`). An `Engine` places these and adds the random numbers.
"""

from collections.abc import Callable, Sequence
import functools
from typing import TypedDict

from etils import epath
import flax
import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.models import rqtransformer
from rq_jax.sampling import conditions
from rq_jax.sampling.options import Sampling

# `fold_in` takes 32 bit of an index.
_NUM_DRAWS = 2**32


class AskedCondition(TypedDict, total=False):
  """The condition that a call gives: exactly what its model takes.

  Attributes:
    labels: Classes, B numbers in [0, num_classes).
    tokens: Token ids of B texts, int32[B, text_length].
    prompts: B texts; needs a model that brings its text tokenizer.
    num_images: B, for a model without conditions.
  """

  labels: Sequence[int] | np.ndarray | jax.Array | None
  tokens: np.ndarray | jax.Array | None
  prompts: Sequence[str] | None
  num_images: int | None


class Asked(AskedCondition, total=False):
  """Keyword arguments of a call that draws.

  Attributes:
    sampling: How to draw; as the sampler says if None.
    first_index: Index of the first image among all that the key draws.
  """

  sampling: Sampling | None
  first_index: int


@flax.struct.dataclass
class Request:
  """Which code maps to draw and how, as arrays that were checked.

  Values may change without another program; what is computed at all, the last
  three, may not.

  Attributes:
    condition: int32[B, condition_length].
    indices: Which draw of the key each image is, uint32[B].
    given: Codes that are known, int32[B, T, D].
    keep: Where `given` is kept, bool[B, T, D]; the other codes are drawn.
    temperature: float32[D].
    top_k: int32[D], at most the size of the codebook.
    top_p: float32[D].
    guidance: Scales, float32[T, D].
    filters_k: Which depths keep less than all codes by rank.
    filters_p: Which depths keep less than all codes by mass.
    guided: Whether the null class is computed beside the condition.
  """

  condition: jax.Array | np.ndarray
  indices: jax.Array | np.ndarray
  given: jax.Array | np.ndarray
  keep: jax.Array | np.ndarray
  temperature: jax.Array | np.ndarray
  top_k: jax.Array | np.ndarray
  top_p: jax.Array | np.ndarray
  guidance: jax.Array | np.ndarray
  filters_k: tuple[bool, ...] = flax.struct.field(pytree_node=False)
  filters_p: tuple[bool, ...] = flax.struct.field(pytree_node=False)
  guided: bool = flax.struct.field(pytree_node=False)

  def map_images(self, fn: Callable) -> 'Request':
    """Applies a function to each array that has a row for each image."""
    names = ('condition', 'indices', 'given', 'keep')
    return self.replace(**{name: fn(getattr(self, name)) for name in names})


def ask(
    prior: rqtransformer.RQTransformer,
    asked: Asked,
    *,
    sampling: Sampling,
    text_tokenizer: str | epath.Path | None = None,
    count: int | None = None,
) -> Request:
  """Checks what a call asks for; all codes are to be drawn.

  Args:
    prior: The model that is asked.
    asked: What it is asked for.
    sampling: How to draw, unless the call says otherwise.
    text_tokenizer: File that turns prompts into tokens, if there is one.
    count: Number of codes or images that are given, if any are.

  Raises:
    ValueError: If the model cannot do it.
  """
  condition = dict(asked)
  chosen = condition.pop('sampling', None) or sampling
  first_index = condition.pop('first_index', 0)
  rows = conditions.resolve(
      prior, text_tokenizer=text_tokenizer, count=count, **condition
  )
  indices = _indices(first_index, len(rows))
  if chosen.guided:
    conditions.check_guidance(prior)
  return make(prior, rows, chosen).replace(indices=indices)


def make(
    prior: rqtransformer.RQTransformer,
    condition: jax.Array | np.ndarray,
    sampling: Sampling,
) -> Request:
  """Asks for the first draws of a key, and for all their codes.

  To keep codes, replace `given` and `keep`: the program is the same.

  Args:
    prior: The model that is asked.
    condition: int32[B, condition_length], of which nothing is checked.
    sampling: How to draw.

  Raises:
    ValueError: If an option has another number of values than the model has
      depths.
  """
  shape = (len(condition), prior.positions, prior.depth)
  size = max(prior.sizes)
  temperature, top_k, top_p = (
      sampling.by_depth(name, prior.depth)
      for name in ('temperature', 'top_k', 'top_p')
  )
  top_k = [k or size for k in top_k]
  return Request(
      condition=condition,
      indices=np.arange(len(condition), dtype=np.uint32),
      given=np.zeros(shape, np.int32),
      keep=np.zeros(shape, bool),
      temperature=np.array(temperature, np.float32),
      top_k=np.array(np.minimum(top_k, size), np.int32),
      top_p=np.array(top_p, np.float32),
      guidance=sampling.scales(prior.positions, prior.depth),
      filters_k=tuple(k < size for k in top_k),
      filters_p=tuple(p < 1 for p in top_p),
      guided=sampling.guided,
  )


def _indices(first_index: int, count: int) -> np.ndarray:
  """Which draws of the key `count` images are: uint32[count]."""
  if not isinstance(first_index, int | np.integer) or first_index < 0:
    raise ValueError(
        f'first_index={first_index} must be a whole number of at least 0.'
    )
  check_last(int(first_index) + count - 1)
  return (first_index + np.arange(count)).astype(np.uint32)


def check_last(index: int) -> None:
  """Raises a ValueError if a key has no draw of this index."""
  if index >= _NUM_DRAWS:
    raise ValueError(
        f'Image {index} of a key is asked for, but a key draws'
        f' {_NUM_DRAWS}. Choose a smaller first_index, and another key.'
    )


@functools.partial(jax.jit, static_argnums=(2, 3))
def uniforms(
    key: jax.Array, indices: jax.Array | np.ndarray, positions: int, depth: int
) -> jax.Array:
  """Random numbers of images: key, uint32[B] -> float32[B, T, D].

  Those of image i come from `fold_in(key, i)`, whatever else is in the batch.
  """

  def of_image(index):
    return jax.random.uniform(
        jax.random.fold_in(key, index), (positions, depth), jnp.float32
    )

  return jax.vmap(of_image)(indices)
