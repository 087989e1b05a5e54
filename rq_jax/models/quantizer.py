"""Residual quantization of feature maps (Section 3.1 of arXiv:2203.01941)."""

from collections.abc import Sequence

import chex
import flax.struct
import jax
import jax.numpy as jnp

from rq_jax.models import categorical
from rq_jax.models import codebook as codebook_lib
from rq_jax.models import module


@flax.struct.dataclass
class Quantized:
  """The result of quantizing a feature map."""

  features: jax.Array  # float32[B, H, W, C]; gradients go straight through.
  codes: jax.Array  # int32[B, h, w, D], one code stack per position.
  commitment_loss: jax.Array  # float32[], averaged over the D partial sums.
  error: jax.Array  # float32[], squared error over the variance of features.


class ResidualQuantizer(module.Module):
  """Approximates each feature vector by a sum of D codewords.

  Each depth quantizes the residual of the previous depths, so one shared
  codebook of K codewords reaches the precision of one with K**D codewords.

  A feature map [H, W, C] is first folded to [h, w, C']: each position of the
  code map gathers a patch of (H/h) x (W/w) vectors.

  Attributes:
    features_shape: H, W, C of the feature map.
    code_shape: h, w, D of the code map.
    codebook_size: Number of codewords, K; one number for each depth where they
      differ.
    shared_codebook: Whether all depths use one codebook.
    decay: Decay of the moving averages; one number, or one for each depth.
    codebook_update: 'step' moves the codebook once, after all depths have been
      coded with the same codewords. 'depth' is the official order: it moves the
      codebook after every depth, so that later depths of the same batch already
      use the moved codewords.
    restart: When to replace a codeword by features of the current batch.
      'relative': when its usage falls below `restart_threshold` times the mean
      usage. 'absolute': when its usage falls below `restart_threshold`
      (official: 1.0). 'off': never.
    restart_threshold: Usage below which a codeword is replaced, see `restart`.
  """

  features_shape: tuple[int, int, int]
  code_shape: tuple[int, int, int]
  codebook_size: int | Sequence[int]
  shared_codebook: bool = True
  decay: float | Sequence[float] = 0.99
  codebook_update: str = 'step'
  restart: str = 'relative'
  restart_threshold: float = 0.1

  def setup(self) -> None:
    """Builds the shared codebook, or one for each depth."""
    names = (
        ['shared']
        if self.shared_codebook
        else [f'depth_{d}' for d in range(self.depth)]
    )
    self.books = [
        self.variable(
            'codebook',
            name,
            lambda size=size: codebook_lib.init(
                self.make_rng('params'), size, self.codeword_channels
            ),
        )
        for name, size in zip(names, self.sizes, strict=False)
    ]

  @property
  def depth(self) -> int:
    """Number of codes at a position, D."""
    return self.code_shape[2]

  @property
  def sizes(self) -> tuple[int, ...]:
    """Number of codewords at each depth."""
    size = self.codebook_size
    return (size,) * self.depth if isinstance(size, int) else tuple(size)

  @property
  def codeword_channels(self) -> int:
    """Channels of a codeword: those of a folded patch of features."""
    (high, wide, channels), (h, w, _) = self.features_shape, self.code_shape
    return (high // h) * (wide // w) * channels

  def __call__(self, z: jax.Array, *, train: bool = False) -> Quantized:
    """Quantizes a feature map and, in training, moves the codebook towards it.

    Args:
      z: Encoder features, float32[B, H, W, C].
      train: Whether to update the codebook. Needs the collection 'codebook' to
        be mutable, and the rng stream 'codebook' unless `restart` is 'off'.

    Returns:
      The quantized features, their codes, and the commitment loss.
    """
    z = self.fold(z.astype(jnp.float32))  # [B, h, w, C']
    residual = jax.lax.stop_gradient(z)
    approximation = jnp.zeros_like(residual)
    moving = train and not self.is_initializing()
    codes, residuals, losses = [], [], []
    for d in range(self.depth):
      words = self._book(d).value.embedding
      code = codebook_lib.nearest(residual, words)
      if moving and self.codebook_update == 'depth':
        # The next depth already sees the moved codewords.
        self._move([d], [residual], [code])
      residuals.append(residual)
      codes.append(code)
      residual = residual - words[code]
      approximation = approximation + words[code]
      losses.append(jnp.mean(jnp.square(z - approximation)))
    if moving and self.codebook_update == 'step':
      for depths in self._sharing():
        self._move(
            depths, [residuals[d] for d in depths], [codes[d] for d in depths]
        )
    return Quantized(
        features=self.unfold(z + jax.lax.stop_gradient(approximation - z)),
        codes=jnp.stack(codes, axis=-1),
        commitment_loss=jnp.mean(jnp.stack(losses)),
        error=_normalized_error(z, approximation),
    )

  def soft_codes(
      self,
      vectors: jax.Array,
      *,
      temperature: float,
      uniforms: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Codes of a stack, drawn at random or nearest, and their residuals.

    Section 3.2.3 of the paper: the code at depth d is drawn from the softmax of
    the negative squared distances divided by the temperature, and the next
    residual follows from the code that was drawn.

    Args:
      vectors: Folded features, float32[..., C'].
      temperature: Temperature of the softmax.
      uniforms: One number in [0, 1) for each draw, float32[..., D]; None to
        take the nearest codewords.

    Returns:
      Codes, int32[..., D], and the residual that each depth quantizes,
      float32[..., D, C'], from which `target_logits` computes soft targets.
    """
    codes, residuals = [], []
    residual = vectors.astype(jnp.float32)
    for d in range(self.depth):
      words = self._book(d).value.embedding
      if uniforms is None:
        code = codebook_lib.nearest(residual, words)
      else:
        distances = codebook_lib.squared_distances(residual, words)
        code = categorical.draw(-distances / temperature, uniforms[..., d])
      residuals.append(residual)
      codes.append(code)
      residual = residual - words[code]
    return jnp.stack(codes, axis=-1), jnp.stack(residuals, axis=-2)

  def target_logits(
      self, residuals: jax.Array, *, temperature: float
  ) -> jax.Array:
    """Logits of the soft targets: [..., D, C'] -> float32[..., D, K].

    Where codebooks differ in size, missing codewords get -inf.
    """
    logits = []
    for d, size in enumerate(self.sizes):
      words = self._book(d).value.embedding
      distances = codebook_lib.squared_distances(residuals[..., d, :], words)
      missing = [(0, 0)] * (distances.ndim - 1) + [(0, max(self.sizes) - size)]
      logits.append(
          jnp.pad(-distances / temperature, missing, constant_values=-jnp.inf)
      )
    return jnp.stack(logits, axis=-2)

  def embed(self, codes: jax.Array) -> jax.Array:
    """Returns the codewords of codes: int32[..., D] -> float32[..., D, C']."""
    words = [self._book(d).value.embedding for d in range(self.depth)]
    return jnp.stack(
        [words[d][codes[..., d]] for d in range(self.depth)], axis=-2
    )

  def codebooks(self) -> tuple[jax.Array, ...]:
    """Codewords, float32[K, C']: one array if shared, else one per depth."""
    return tuple(book.value.embedding for book in self.books)

  def fold(self, z: jax.Array) -> jax.Array:
    """Gathers patches of features: [B, H, W, C] -> [B, h, w, C']."""
    chex.assert_shape(z, (None, *self.features_shape))
    (high, wide, channels), (h, w, _) = self.features_shape, self.code_shape
    z = z.reshape(-1, h, high // h, w, wide // w, channels)
    return z.transpose(0, 1, 3, 2, 4, 5).reshape(
        -1, h, w, self.codeword_channels
    )

  def unfold(self, vectors: jax.Array) -> jax.Array:
    """Undoes `fold`: [B, h, w, C'] -> [B, H, W, C]."""
    (high, wide, channels), (h, w, _) = self.features_shape, self.code_shape
    patches = vectors.reshape(-1, h, w, high // h, wide // w, channels)
    return patches.transpose(0, 1, 3, 2, 4, 5).reshape(-1, high, wide, channels)

  def _book(self, depth: int):
    return self.books[0 if self.shared_codebook else depth]

  def _sharing(self) -> list[list[int]]:
    depths = list(range(self.depth))
    return [depths] if self.shared_codebook else [[d] for d in depths]

  def _move(self, depths: list[int], residuals, codes) -> None:
    book = self._book(depths[0])
    decay = self.decay
    book.value = codebook_lib.move(
        book.value,
        jnp.stack(residuals),
        jnp.stack(codes),
        decay=decay[depths[0]] if isinstance(decay, Sequence) else decay,
        rng=None if self.restart == 'off' else self.make_rng('codebook'),
        threshold=self.restart_threshold,
        relative=self.restart == 'relative',
    )


def _normalized_error(z: jax.Array, approximation: jax.Array) -> jax.Array:
  spread = jnp.mean(jnp.square(z - jnp.mean(z, axis=(0, 1, 2), keepdims=True)))
  error = jnp.mean(jnp.square(z - approximation)) / spread
  return jax.lax.stop_gradient(error)
