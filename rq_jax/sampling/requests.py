"""Turns the arguments of a call into the arrays that the decode loop reads.

`ask` checks the keyword arguments of a call (`Asked`) and turns them into
arrays (`Request`). An `Engine` places these on devices and adds random numbers.
"""

from collections.abc import Callable, Sequence
import difflib
import functools
import inspect
import typing
from typing import TypedDict, TypeVar

from etils import epath
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.models import rqtransformer
from rq_jax.sampling import conditions
from rq_jax.sampling.options import Sampling
from rq_jax.typing import Array

# `fold_in` reads 32 bits of an index.
_NUM_DRAWS = 2**32
_Class = TypeVar('_Class')
# Keyword arguments whose default is not None.
_DEFAULTS = {'first_index': 0}


class AskedCondition(TypedDict, total=False):
  """The condition of a call; which one depends on the model.

  Attributes:
    labels: Classes, B numbers in [0, num_classes) or names of classes.
    tokens: Token ids of B texts, int32[B, text_length].
    prompts: B texts, for a text model that has a text tokenizer.
    num_images: B, for an unconditional model.
  """

  labels: Sequence[int | str] | Array | None
  tokens: Array | None
  prompts: Sequence[str] | None
  num_images: int | None


class Asked(AskedCondition, total=False):
  """Keyword arguments of a call that draws.

  Attributes:
    sampling: How to draw; the sampler's own options if None.
    first_index: Index of the first image among all images of the key.
    indices: Indices of all images, in place of `first_index`.
  """

  sampling: Sampling | None
  first_index: int
  indices: Sequence[int] | Array | None


def spell_out(cls: type[_Class]) -> type[_Class]:
  """Lists the names of `**asked` in the signatures that `help` shows."""
  for method in vars(cls).values():
    if not inspect.isfunction(method):
      continue
    signature = inspect.signature(method)
    named = list(signature.parameters.values())
    if not named or named[-1].kind is not inspect.Parameter.VAR_KEYWORD:
      continue
    (asked,) = typing.get_args(named.pop().annotation)
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_DEFAULTS.get(name),
            annotation=annotation,
        )
        for name, annotation in typing.get_type_hints(asked).items()
    ]
    spelled_out = signature.replace(parameters=[*named, *options])
    setattr(method, '__signature__', spelled_out)  # noqa: B010 (not declared)
  return cls


def check_names(asked: AskedCondition, kind: type[AskedCondition]) -> None:
  """Raises a TypeError if a keyword argument is not one of `kind`."""
  names = list(typing.get_type_hints(kind))
  for name in asked:
    if name not in names:
      near = difflib.get_close_matches(name, names, 1)
      hint = f' Did you mean {near[0]}=?' if near else ''
      raise TypeError(
          f'{name}= is not an argument here; these are:'
          f' {", ".join(names)}.{hint}'
      )


def check_key(key: jax.Array) -> None:
  """Raises a ValueError if the key is not one random key."""
  got = type(key).__name__
  if isinstance(key, jax.Array):
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
      return
    if key.dtype == jnp.uint32 and key.ndim == 1:  # Of jax.random.PRNGKey.
      return
    got = f'{key.dtype} of shape {list(key.shape)}'
  raise ValueError(
      f'key must be one random key, such as jax.random.key(0); got {got}.'
  )


class Request(flax.struct.PyTreeNode):
  """Which code maps to draw and how, as checked arrays.

  A change of an array reuses the compiled program. A change of the last three
  fields, which decide what is computed, compiles another one.

  Attributes:
    condition: int32[B, condition_length].
    indices: Index of each image among all images of the key, uint32[B].
    given: Known codes, int32[B, T, D].
    keep: Where `given` is kept, bool[B, T, D]; the other codes are drawn.
    temperature: float32[D].
    top_k: int32[D], at most the size of the codebook.
    top_p: float32[D].
    guidance: Guidance scales, float32[T, D].
    filters_k: Depths at which `top_k` removes codes.
    filters_p: Depths at which `top_p` removes codes.
    guided: Whether to compute the null class beside the condition.
  """

  condition: Array
  indices: Array
  given: Array
  keep: Array
  temperature: Array
  top_k: Array
  top_p: Array
  guidance: Array
  filters_k: tuple[bool, ...] = flax.struct.field(pytree_node=False)
  filters_p: tuple[bool, ...] = flax.struct.field(pytree_node=False)
  guided: bool = flax.struct.field(pytree_node=False)

  def map_images(self, fn: Callable) -> 'Request':
    """Applies a function to each array that has one row per image."""
    names = ('condition', 'indices', 'given', 'keep')
    return self.replace(**{name: fn(getattr(self, name)) for name in names})


def ask(
    prior: rqtransformer.RQTransformer,
    asked: Asked,
    *,
    sampling: Sampling,
    text_tokenizer: epath.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    count: int | None = None,
) -> Request:
  """Checks the arguments of a call and turns them into a request.

  Args:
    prior: The model to draw from.
    asked: Keyword arguments of the call.
    sampling: How to draw, unless the call sets it.
    text_tokenizer: File that turns prompts into tokens, if there is one.
    class_names: Names of the classes by label, if they are known.
    count: Number of code maps or images that the caller passed, if any.

  Returns:
    A request to draw all codes.

  Raises:
    TypeError: If an argument is unknown.
    ValueError: If the model cannot draw this.
  """
  check_names(asked, Asked)
  chosen = asked.get('sampling') or sampling
  rows = conditions.resolve(
      prior,
      text_tokenizer=text_tokenizer,
      class_names=class_names,
      count=count,
      labels=asked.get('labels'),
      tokens=asked.get('tokens'),
      prompts=asked.get('prompts'),
      num_images=asked.get('num_images'),
  )
  first_index = asked.get('first_index', _DEFAULTS['first_index'])
  indices = _indices(first_index, asked.get('indices'), len(rows))
  if chosen.guided:
    conditions.check_guidance(prior)
  return make(prior, rows, chosen).replace(indices=indices)


def make(
    prior: rqtransformer.RQTransformer,
    condition: jax.Array | np.ndarray,
    sampling: Sampling,
) -> Request:
  """A request for the first images of a key, and for all of their codes.

  To keep codes, replace `given` and `keep`; the compiled program is the same.

  Args:
    prior: The model to draw from.
    condition: int32[B, condition_length]; not checked.
    sampling: How to draw.

  Raises:
    ValueError: If an option does not have one value per depth of the model.
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


def _indices(first_index: int, given: object, count: int) -> np.ndarray:
  """Indices of `count` images among all images of the key: uint32[count]."""
  if not isinstance(first_index, int | np.integer) or first_index < 0:
    raise ValueError(
        f'first_index={first_index} must be a whole number of at least 0.'
    )
  if given is None:
    check_last(int(first_index) + count - 1)
    return (first_index + np.arange(count)).astype(np.uint32)
  if first_index:
    raise ValueError(
        f'first_index={first_index} and indices exclude each other. Leave out'
        ' one of them.'
    )
  indices = np.asarray(given)
  if indices.shape != (count,) or indices.dtype.kind not in 'iu':
    raise ValueError(
        f'indices must be one whole number per image, {count} in all; got'
        f' {indices.dtype} of shape {list(indices.shape)}.'
    )
  if indices.min() < 0:
    raise ValueError(f'indices={indices.min()} must be at least 0.')
  check_last(int(indices.max()))
  return indices.astype(np.uint32)


def check_last(index: int) -> None:
  """Raises a ValueError if a key has no image with this index."""
  if index >= _NUM_DRAWS:
    raise ValueError(
        f'This call needs image {index} of the key, but a key has'
        f' {_NUM_DRAWS} images. Use a smaller first_index and another key.'
    )


@functools.partial(jax.jit, static_argnums=(2, 3))
def uniforms(
    key: jax.Array, indices: jax.Array | np.ndarray, positions: int, depth: int
) -> jax.Array:
  """Random numbers in [0, 1) of images: key, uint32[B] -> float32[B, T, D].

  Image i gets those of `fold_in(key, i)`, whatever else is in the batch.
  """

  def of_image(index):
    return jax.random.uniform(
        jax.random.fold_in(key, index), (positions, depth), jnp.float32
    )

  return jax.vmap(of_image)(indices)
