"""What is asked of the decode loop: conditions, random numbers, known codes."""

import dataclasses
import functools

from etils import epath
import flax
import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.models import rqtransformer
from rq_jax.sampling import conditions
from rq_jax.sampling.conditions import Asked
from rq_jax.sampling.options import DrawOptions
from rq_jax.sampling.options import Sampling

# `fold_in` takes 32 bit of an index.
_NUM_DRAWS = 2**32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
  """What a call asks for, checked.

  Attributes:
    condition: int32[B, condition_length].
    indices: Which draw of the key each image is, int[B].
    options: How to draw.
  """

  condition: np.ndarray
  indices: np.ndarray
  options: DrawOptions


@flax.struct.dataclass
class Request:
  """Which code maps to draw, as arrays.

  Attributes:
    condition: int32[B, condition_length].
    uniforms: One number in [0, 1) for each code, float32[B, T, D].
    given: Codes that are known, int32[B, T, D].
    keep: Where `given` is kept, bool[B, T, D]; the other codes are drawn.
  """

  condition: jax.Array
  uniforms: jax.Array
  given: jax.Array
  keep: jax.Array


def wanted(
    prior: rqtransformer.RQTransformer,
    asked: Asked,
    *,
    sampling: Sampling,
    text_tokenizer: str | epath.Path | None,
    count: int | None,
) -> Wanted:
  """Checks what a call asks for.

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
  return Wanted(
      condition=rows,
      indices=indices(first_index, len(rows)),
      options=conditions.draw_options(prior, chosen),
  )


def indices(first_index: int, count: int) -> np.ndarray:
  """Which draws of the key `count` images are: int64[count].

  Raises:
    ValueError: If the first index is none, or the last one is too large.
  """
  if not isinstance(first_index, int | np.integer) or first_index < 0:
    raise ValueError(
        f'first_index={first_index} must be a whole number of at least 0.'
    )
  return check_indices(first_index + np.arange(count))


def check_indices(indices: np.ndarray) -> np.ndarray:
  """The indices, int64[B], if no two of a key are the same 32 bit."""
  if (last := indices.max(initial=0)) >= _NUM_DRAWS:
    raise ValueError(
        f'Image {last} of a key is asked for, but a key draws'
        f' {_NUM_DRAWS}. Choose a smaller first_index, and another key.'
    )
  return indices


def make(
    prior: rqtransformer.RQTransformer,
    condition: jax.Array | np.ndarray,
    uniforms: jax.Array,
    *,
    given: np.ndarray | None = None,
    keep: np.ndarray | None = None,
) -> Request:
  """Asks for code maps; without `given` and `keep`, all codes are drawn.

  Both ways run the same program.
  """
  shape = (len(condition), prior.positions, prior.depth)
  return Request(
      condition=condition,
      uniforms=uniforms,
      given=np.zeros(shape, np.int32)
      if given is None
      else given.reshape(shape),
      keep=np.zeros(shape, bool) if keep is None else keep.reshape(shape),
  )


@functools.partial(jax.jit, static_argnums=(2, 3))
def uniforms(
    key: jax.Array, indices: jax.Array | np.ndarray, positions: int, depth: int
) -> jax.Array:
  """Random numbers of images: key, uint32[B] -> float32[B, T, D].

  Those of image i come from `fold_in(key, i)` alone.
  """

  def of_image(index):
    return jax.random.uniform(
        jax.random.fold_in(key, index), (positions, depth), jnp.float32
    )

  return jax.vmap(of_image)(indices)
