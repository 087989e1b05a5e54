"""A restored RQ-VAE: images to codes and back, on plain arrays."""

import dataclasses
import functools
import math

from etils import epath
import jax
import jax.numpy as jnp

from rq_jax import compiler_options
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.config import sizes
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import checks
from rq_jax.models import rqvae
from rq_jax.typing import Array, PyTree, Variables

_DECODING_BUDGET = 2 * 2**30  # Bytes of activations at a time.
_LIVE_MAPS = 4


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Tokenizer:
  """Turns images into code maps, and back.

  ```python
  tokenizer = rq_jax.Tokenizer.restore('runs/digits/rqvae')
  codes = tokenizer.encode(images)
  images = tokenizer.decode(codes)
  ```

  Images have the shape [B, Y, X, 3]; they are uint8, or float32 in [-1, 1].

  Attributes:
    model: The RQ-VAE, a Flax module.
    variables: Its 'params' and its 'codebook'.
  """

  model: rqvae.RQVAE
  variables: Variables

  @classmethod
  def restore(
      cls,
      path: epath.PathLike,
      *,
      step: int | None = None,
      ema: bool = True,
      dtype: str | None = None,
      mesh: jax.sharding.Mesh | None = None,
      verify: bool = True,
      verbose: bool = True,
  ) -> 'Tokenizer':
    """Restores a tokenizer.

    Args:
      path: The workdir of a run, or a converted checkpoint; local or gs://.
      step: Step of the checkpoint; the newest if None.
      ema: Whether to use averaged parameters if the run kept them.
      dtype: Type of parameters and computation, such as 'bfloat16'; that of the
        training run if None. The quantizer always uses float32.
      mesh: Devices that hold the parameters; the first device if None.
      verify: Whether to compare files and arrays with their stored hashes.
      verbose: Whether to print which checkpoint was restored.

    Raises:
      ValueError: If the path holds no tokenizer, or an incomplete one,
        or one that has changed since it was saved.
    """
    model = build.rqvae(stored.read_rqvae(path), dtype)
    abstract = build.rqvae_variables(model)
    variables, found = stored.restore_variables(
        path,
        partitioning.unbox(abstract),
        step=step,
        ema=ema,
        dtype=dtype,
        sharding=mesh and partitioning.state_sharding(abstract, mesh),
        verify=verify,
    )
    if verbose:
      console.tell(f'Tokenizer: {found}.')
    return cls(model=model, variables=variables)

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hash of the weights; feature caches record that of their tokenizer."""
    return inference_copy.fingerprint(self.variables)

  @functools.cached_property
  def codebooks(self) -> tuple[jax.Array, ...]:
    """Codewords, float32[K, C]: one shared codebook, or one per depth."""
    with jax.ensure_compile_time_eval():  # Also where a caller jits.
      return self.model.apply(self.variables, method='codebooks')

  def features(self, images: Array) -> jax.Array:
    """Encodes images up to the quantizer: -> float32[B, h, w, C].

    Takes and checks images as `encode` does.
    """
    return features_known(self, checks.images(images, self.model.image_size))

  def encode(self, images: Array) -> jax.Array:
    """Encodes images: [B, Y, X, 3] -> codes int32[B, h, w, D].

    Warns if float images seem to lie in [0, 1] or [0, 255]; it looks at the
    first few, and waits for them if a device still computes them.

    Args:
      images: uint8, or float32 in [-1, 1].

    Raises:
      ValueError: If the images have another shape or dtype.
    """
    return encode_known(self, checks.images(images, self.model.image_size))

  def decode(self, codes: Array, *, depth: int | None = None) -> jax.Array:
    """Decodes codes: int32[B, h, w, D] -> uint8[B, Y, X, 3].

    Large batches are decoded in several parts by one compiled program.

    Args:
      codes: Code maps; -1 stands for a missing code.
      depth: How many codes of every stack to use, counted from the first, for a
        coarse preview; all if None.

    Raises:
      ValueError: If `depth` is not in [1, D], the shape or dtype of the codes
        is wrong, or a code is neither -1 nor in the codebook of its depth.
        Values cannot be checked inside a jitted function, nor in an array that
        several processes share: there, JAX reads the last codeword for larger
        codes, and nothing for negative ones.
    """
    stack = self.model.code_shape[2]
    if depth is not None and not 1 <= depth <= stack:
      raise ValueError(
          f'depth={depth} must be in [1, {stack}], because a stack has {stack}'
          ' codes. None uses all of them.'
      )
    codes = checks.codes(codes, self.model.code_shape)
    sizes = self.model.make_quantizer().sizes
    checks.code_values(codes, sizes, allow_missing=True)
    return decode_known(self, jnp.asarray(codes, jnp.int32), depth=depth)

  def __repr__(self) -> str:
    h, w, d = self.model.code_shape
    size = sizes.text(self.model.image_size)
    return (
        f'Tokenizer(images {size}, codes {h}x{w}x{d},'
        f' {summary(self.variables)})'
    )


def summary(variables: Variables) -> str:
  """Size and dtype of a model, such as '1,204,224 parameters in float32'."""
  arrays = jax.tree.leaves(variables['params'])
  count = sum(math.prod(array.shape) for array in arrays)
  return f'{count:,} parameters in {arrays[0].dtype}'


def features_known(tokenizer: Tokenizer, images: jax.Array) -> jax.Array:
  """Features of images that are known to be valid, see `Tokenizer.features`.

  Checking the values of images on a device would wait for the device.
  """
  return _features(tokenizer.model, tokenizer.variables, _floats(images))


def encode_known(tokenizer: Tokenizer, images: jax.Array) -> jax.Array:
  """Encodes images that are known to be valid, see `Tokenizer.encode`."""
  return _encode(tokenizer.model, tokenizer.variables, _floats(images))


def decode_known(
    tokenizer: Tokenizer, codes: jax.Array, *, depth: int | None = None
) -> jax.Array:
  """Decodes codes that are known to be valid, see `Tokenizer.decode`.

  Checking the values of codes that a model has just drawn would wait for the
  device.
  """
  model = tokenizer.model
  parts = _parts(model, codes)
  return _decode(model, depth, *parts, tokenizer.variables, codes)


def lower_features(
    model: rqvae.RQVAE, variables: PyTree, images: jax.ShapeDtypeStruct
) -> jax.stages.Lowered:
  """The program of `features_known`, for shapes: float32[B, Y, X, 3]."""
  return _features.on(_platform(images)).lower(model, variables, images)


def lower_decode(
    model: rqvae.RQVAE, variables: PyTree, codes: jax.ShapeDtypeStruct
) -> jax.stages.Lowered:
  """The program of `decode_known`, for shapes: int32[B, h, w, D]."""
  on_devices = _decode.on(_platform(codes))
  return on_devices.lower(model, None, *_parts(model, codes), variables, codes)


def _platform(array: jax.ShapeDtypeStruct) -> str:
  assert array.sharding is not None
  return next(iter(array.sharding.device_set)).platform


def _parts(
    model: rqvae.RQVAE, codes: jax.Array | jax.ShapeDtypeStruct
) -> tuple[int, int]:
  """Devices that split a batch of codes, and parts that each decodes in turn.

  The devices are unknown inside a jitted function.
  """
  sharding = getattr(codes, 'sharding', None)
  count = codes.shape[0]
  own = sharding.shard_shape(codes.shape)[0] if sharding else count
  chunks = max(1, math.ceil(own / _images_at_a_time(model)))
  return count // max(own, 1), chunks


def _floats(images: jax.Array) -> jax.Array:
  if images.dtype == jnp.uint8:
    return images.astype(jnp.float32) / 127.5 - 1
  return images


def to_uint8(images: jax.Array) -> jax.Array:
  """Pixels of images: float32[...] in [-1, 1] or uint8[...] -> uint8[...]."""
  if images.dtype == jnp.uint8:
    return images
  return jnp.round(jnp.clip(images * 127.5 + 127.5, 0, 255)).astype(jnp.uint8)


_jitted = functools.partial(
    compiler_options.Jitted, options=compiler_options.convolutions
)


@functools.partial(_jitted, static_argnums=0)
def _features(model, variables, images):
  return model.apply(variables, images, method='features')


@functools.partial(_jitted, static_argnums=0)
def _encode(model, variables, images):
  features = model.apply(variables, images, method='features')
  return model.apply(variables, features, method='quantize').codes


@functools.partial(_jitted, static_argnums=(0, 1, 2, 3))
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
  """Memory in bytes that a device needs to decode this many images."""
  return min(count, _images_at_a_time(model)) * _activation_bytes(model)


def _images_at_a_time(model: rqvae.RQVAE) -> int:
  return max(1, _DECODING_BUDGET // _activation_bytes(model))


def _activation_bytes(model: rqvae.RQVAE) -> int:
  """Bytes of the largest feature maps in memory at once, for one image."""
  pixels = math.prod(sizes.pair(model.image_size))
  numbers = [
      pixels // 4**level * model.channels * multiplier
      for level, multiplier in enumerate(model.channel_multipliers)
  ]
  return _LIVE_MAPS * max(numbers) * jnp.dtype(model.dtype).itemsize
