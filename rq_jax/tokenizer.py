"""A restored RQ-VAE: images to codes and back, on plain arrays."""

import dataclasses
import functools
import math

import chex
import jax
from jax import core
import jax.numpy as jnp
import numpy as np

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import rqvae
from rq_jax.typing import Variables

_DECODING_BUDGET = 2 * 2**30  # Bytes of activations of images at a time.
_LIVE_MAPS = 4
_NARROW = {'float64': 'float32', 'int64': 'int32', 'uint64': 'uint32'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenizer:
  """Turns images into code maps, and back.

  ```python
  tokenizer = rq_jax.Tokenizer.restore('runs/digits/rqvae')
  codes = tokenizer.encode(images)
  images = tokenizer.decode(codes)
  ```

  Images are given as uint8, or as float32 in [-1, 1]: [B, S, S, 3].

  Attributes:
    model: The RQ-VAE, a Flax module.
    variables: Its 'params' and its 'codebook'.
  """

  model: rqvae.RQVAE
  variables: Variables

  @classmethod
  def restore(
      cls,
      path: str,
      *,
      step: int | None = None,
      ema: bool = True,
      dtype: str | None = None,
      mesh: jax.sharding.Mesh | None = None,
      verbose: bool = True,
  ) -> 'Tokenizer':
    """Restores a tokenizer.

    Args:
      path: The workdir of a run, or a converted checkpoint; local or gs://.
      step: Which checkpoint; the newest if None.
      ema: Whether to take averaged parameters, where the run kept them.
      dtype: Of parameters and computation, such as 'bfloat16'; None for as
        trained. The quantizer is always float32.
      mesh: Where to place the parameters; the first device if None.
      verbose: Whether to say what was restored.

    Raises:
      ValueError: If the path holds no tokenizer, or an incomplete one.
    """
    model = build.rqvae(stored.read_model(path, stage=1), dtype)
    abstract = build.rqvae_variables(model)
    variables, found = stored.restore_variables(
        path,
        partitioning.unbox(abstract),
        step=step,
        ema=ema,
        dtype=dtype,
        sharding=mesh and partitioning.state_sharding(abstract, mesh),
    )
    if verbose:
      console.tell(f'Tokenizer: {found}.')
    return cls(model=model, variables=variables)

  @functools.cached_property
  def fingerprint(self) -> str:
    """Names the weights; caches of features record whose they are."""
    return inference_copy.fingerprint(self.variables)

  @functools.cached_property
  def codebooks(self) -> tuple[jax.Array, ...]:
    """Codewords, float32[K, C]: of the shared codebook, or of each depth."""
    with jax.ensure_compile_time_eval():  # Also where a caller jits.
      return self.model.apply(self.variables, method='codebooks')

  def features(self, images: jax.Array) -> jax.Array:
    """Encodes images, before quantization: -> float32[B, H, W, C]."""
    return _features(self.model, self.variables, self._floats(images))

  def encode(self, images: jax.Array) -> jax.Array:
    """Encodes images: [B, S, S, 3] -> codes int32[B, h, w, D]."""
    return _encode(self.model, self.variables, self._floats(images))

  def decode(self, codes: jax.Array, *, depth: int | None = None) -> jax.Array:
    """Decodes codes: int32[B, h, w, D] -> uint8[B, S, S, 3].

    Large batches are decoded a part at a time, in one program.

    Args:
      codes: Code maps; -1 stands for a code that is not there.
      depth: How many codes of every stack to use, from the first, for a coarse
        preview; all if None.

    Raises:
      ValueError: If `depth` is not in [1, D], or a code is neither -1 nor in
        the codebook of its depth. Inside of a jitted function, and of an array
        that several processes share, the values cannot be checked: JAX takes
        the last codeword for larger codes, and nothing for negative ones.
    """
    _check_codes(self.model, codes)
    return decode_known(self, codes, depth=depth)

  def _floats(self, images: jax.Array) -> jax.Array:
    images = narrow(images)
    size = self.model.image_size
    chex.assert_shape(images, (None, size, size, 3))
    if images.dtype == jnp.uint8:
      return images.astype(jnp.float32) / 127.5 - 1
    if not jnp.issubdtype(images.dtype, jnp.floating):
      raise ValueError(
          f'images are {images.dtype}; they must be uint8, or float32 in'
          ' [-1, 1]. Convert them.'
      )
    return images


def decode_known(
    tokenizer: Tokenizer, codes: jax.Array, *, depth: int | None = None
) -> jax.Array:
  """Decodes codes that a model drew, see `Tokenizer.decode`, without a check.

  A check of their values would wait until the device has drawn them.
  """
  codes, model = narrow(codes), tokenizer.model
  shape = tuple(model.code_shape)
  chex.assert_shape(codes, (None, *shape))
  if depth is not None and not 1 <= depth <= shape[2]:
    raise ValueError(
        f'depth={depth} must lie in [1, {shape[2]}], as a stack has'
        f' {shape[2]} codes; None takes all.'
    )
  # Of a batch that is split over devices, each decodes its own part. Inside
  # of a jitted function, nobody can tell.
  sharding = getattr(codes, 'sharding', None)
  own = sharding.shard_shape(codes.shape)[0] if sharding else len(codes)
  split = len(codes) // max(own, 1)
  chunks = max(1, math.ceil(own / _images_at_a_time(model)))
  return _decode(model, depth, split, chunks, tokenizer.variables, codes)


def _check_codes(model: rqvae.RQVAE, codes: jax.Array | np.ndarray) -> None:
  """Refuses what is no code map of a model, as far as its values are known."""
  known = not isinstance(codes, core.Tracer)
  if isinstance(codes, jax.Array):
    known = known and codes.is_fully_addressable
  else:
    codes = np.asarray(codes)
  chex.assert_shape(codes, (None, *model.code_shape))
  if not jnp.issubdtype(codes.dtype, jnp.integer):
    raise ValueError(
        f'codes are {codes.dtype}; they must be integers, as of'
        ' Tokenizer.encode. Convert them.'
    )
  if not known:
    return
  values, sizes = np.asarray(codes), np.array(model.make_quantizer().sizes)
  wrong = (values < -1) | (values >= sizes)
  if wrong.any():
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    raise ValueError(
        f'codes{list(place)} is {values[place]}, but the codes of depth'
        f' {place[-1] + 1} lie in [0, {sizes[place[-1]]}), and -1 stands for'
        ' none. Decode with the tokenizer that encoded them.'
    )


def narrow(values: jax.Array | np.ndarray) -> jax.Array:
  """What a caller gave, in 32 bits where it has 64: [...] -> same.

  JAX does this to NumPy arrays by itself, but not under JAX_ENABLE_X64.
  """
  values = jnp.asarray(values)
  return values.astype(_NARROW.get(values.dtype.name, values.dtype))


def to_uint8(images: jax.Array) -> jax.Array:
  """Pixels of images in [-1, 1], rounded: float32[...] -> uint8[...]."""
  return jnp.round(jnp.clip(images * 127.5 + 127.5, 0, 255)).astype(jnp.uint8)


@functools.partial(jax.jit, static_argnums=0)
def _features(model, variables, images):
  return model.apply(variables, images, method='features')


@functools.partial(jax.jit, static_argnums=0)
def _encode(model, variables, images):
  features = model.apply(variables, images, method='features')
  return model.apply(variables, features, method='quantize').codes


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _decode(model, depth, split, chunks, variables, codes):
  def decode(codes):
    images = model.apply(variables, codes, depth=depth, method='decode_codes')
    return to_uint8(images)

  if chunks == 1:
    return decode(codes)
  parts = codes.reshape(split, -1, *codes.shape[1:])  # [split, b, h, w, D]
  count = parts.shape[1]
  size = math.ceil(count / chunks)
  padding = [(0, 0)] * parts.ndim
  padding[1] = (0, size * chunks - count)
  parts = jnp.pad(parts, padding)
  parts = parts.reshape(split, chunks, size, *codes.shape[1:])

  def decode_parts(part):  # [split, size, h, w, D]
    images = decode(part.reshape(-1, *codes.shape[1:]))
    return images.reshape(split, size, *images.shape[1:])

  images = jax.lax.map(decode_parts, jnp.moveaxis(parts, 1, 0))
  images = jnp.moveaxis(images, 0, 1).reshape(split, -1, *images.shape[3:])
  return images[:, :count].reshape(-1, *images.shape[2:])


def decoding_bytes(model: rqvae.RQVAE, count: int) -> int:
  """Bytes that a device takes to decode images, a part of many at a time."""
  return min(count, _images_at_a_time(model)) * _activation_bytes(model)


def _images_at_a_time(model: rqvae.RQVAE) -> int:
  return max(1, _DECODING_BUDGET // _activation_bytes(model))


def _activation_bytes(model: rqvae.RQVAE) -> int:
  """Bytes of the largest maps that live at a time, of one image."""
  numbers = [
      (model.image_size // 2**level) ** 2 * model.channels * multiplier
      for level, multiplier in enumerate(model.channel_multipliers)
  ]
  return _LIVE_MAPS * max(numbers) * jnp.dtype(model.dtype).itemsize
