"""A restored generator: an RQ-Transformer with its tokenizer."""

from collections.abc import Iterator
import dataclasses
import functools
from typing import Any, Unpack

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import console
from rq_jax.models import checks
from rq_jax.models import rqtransformer
from rq_jax.sampling import conditions
from rq_jax.sampling import engine as engine_lib
from rq_jax.sampling import likelihood
from rq_jax.sampling import masks
from rq_jax.sampling import memory
from rq_jax.sampling import requests
from rq_jax.sampling import restoring
from rq_jax.sampling import selection
from rq_jax.sampling.options import Sampling
from rq_jax.sampling.requests import Asked
from rq_jax.sampling.requests import AskedCondition
from rq_jax.sampling.requests import Request
from rq_jax.tokenizer import Tokenizer
from rq_jax.typing import Array, Variables


@requests.spell_out
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Sampler:
  """Generates images with a trained RQ-Transformer and its tokenizer.

  ```python
  sampler = rq_jax.Sampler.restore('runs/digits/rqtransformer')
  images = sampler(jax.random.key(0), labels=[3, 7])
  ```

  Methods that draw take one condition (`labels`, `tokens` or `prompts`, or
  `num_images` for an unconditional model), `sampling` to replace the sampler's
  own options, and `indices`, by default first_index + i: image i draws only
  from `fold_in(key, indices[i])`, whatever the rest of the batch is. Before
  they compute anything, they raise a ValueError if the key is not one random
  key, the model does not take the condition, the batch needs more memory than
  there is, or `sampling` asks for guidance and the model has no null class.

  A code is drawn given the codes before it: by position in raster order, and by
  depth within each position. Codes that you keep influence only later codes.

  Attributes:
    prior: The RQ-Transformer, a Flax module.
    prior_variables: Its 'params'.
    tokenizer: The RQ-VAE that decodes the codes.
    sampling: How to draw if a call does not set it.
    mesh: Devices that share a batch; one device if None.
    text_tokenizer: File that turns prompts into tokens, see `TextTokenizer`.
    class_names: Names of the classes by label, which `labels` may contain.
    kernels: 'xla'; 'pallas' for our own kernels on an NVIDIA GPU; 'interpret'
      to run these slowly on any device, as a check.
    weights: 'float', or 'int8' to draw with one byte for each weight.
  """

  prior: rqtransformer.RQTransformer
  prior_variables: Variables
  tokenizer: Tokenizer
  sampling: Sampling = Sampling()
  mesh: jax.sharding.Mesh | None = None
  text_tokenizer: epath.PathLike | None = None
  class_names: tuple[str, ...] | None = None
  kernels: str = 'xla'
  weights: str = 'float'

  @classmethod
  def restore(
      cls,
      path: epath.PathLike,
      *,
      step: int | None = None,
      ema: bool = True,
      dtype: str | None = None,
      mesh: jax.sharding.Mesh | None = None,
      tokenizer: epath.PathLike | None = None,
      text_tokenizer: epath.PathLike | None = None,
      verify: bool = True,
      verbose: bool = True,
  ) -> 'Sampler':
    """Restores a generator.

    Args:
      path: Workdir of a stage-2 run, or a converted checkpoint; local or gs://.
      step: Step of the checkpoint; the newest if None.
      ema: Whether to use averaged parameters if the run kept them.
      dtype: Type of parameters and computation; that of training if None.
      mesh: Devices that share a batch; the first device if None.
      tokenizer: Path of another copy of the tokenizer.
      text_tokenizer: File for prompts; the one in `path` if None.
      verify: Whether to compare files and arrays with their stored hashes.
      verbose: Whether to print which checkpoint was restored.

    Raises:
      ValueError: If `path` holds no whole RQ-Transformer with its tokenizer.
    """
    parts, found = restoring.restore(
        path,
        step=step,
        ema=ema,
        dtype=dtype,
        mesh=mesh,
        tokenizer=tokenizer,
        text_tokenizer=text_tokenizer,
        verify=verify,
    )
    if verbose:
      console.tell(f'Sampler: {found}.')
    return cls(**parts)

  def __call__(self, key: jax.Array, **asked: Unpack[Asked]) -> jax.Array:
    """Draws images: -> uint8[B, Y, X, 3]."""
    return tokenizer_lib.decode_known(self.tokenizer, self.codes(key, **asked))

  def codes(self, key: jax.Array, **asked: Unpack[Asked]) -> jax.Array:
    """Draws code maps: -> int32[B, H, W, D]."""
    return self.engine.codes(key, self._request(key, asked))

  def complete(
      self, key: jax.Array, codes: Array, keep: Array, **asked: Unpack[Asked]
  ) -> jax.Array:
    """Keeps some codes of code maps and draws the others: -> int32[B, H, W, D].

    Keeping the first positions continues maps, as official `start_loc` does.

    Args:
      key: Random key of all draws.
      codes: int32[B, H, W, D]; codes that are not kept may have any value.
      keep: Codes to keep: bool[H, W] for whole stacks, or bool[H, W, D]; add a
        leading B for one mask per image.
      **asked: See the class; unconditional models need no `num_images` here.
    """
    codes = checks.codes(codes, self.prior.code_shape)
    keep = masks.expand(self.prior, keep, len(codes))
    checks.code_values(codes, self.prior.sizes, where=keep)
    request = self._request(key, asked, len(codes))
    given = np.asarray(codes, np.int32).reshape(keep.shape)
    return self.engine.codes(key, request.replace(given=given, keep=keep))

  def edit(
      self, key: jax.Array, images: Array, redraw: Array, **asked: Unpack[Asked]
  ) -> np.ndarray:
    """Draws regions of images again: -> uint8[B, Y, X, 3].

    Draws a position of the code map again if `redraw` is true for any pixel of
    its cell. All other cells keep the pixels that you passed.

    Args:
      key: Random key of all draws.
      images: uint8, or float32 in [-1, 1], [B, Y, X, 3].
      redraw: Pixels to draw again: bool[Y, X], or bool[B, Y, X] for one mask
        per image.
      **asked: See the class; unconditional models need no `num_images` here.
    """
    size = self.tokenizer.model.image_size
    images = checks.images(images, size)
    chosen = masks.cells(self.prior.code_shape, size, redraw, len(images))
    self._request(key, asked, len(images))  # Checks before anything is encoded.
    codes = tokenizer_lib.encode_known(self.tokenizer, images)
    keep = np.broadcast_to(~chosen[..., None], codes.shape)
    codes = self.complete(key, codes, keep, **asked)
    drawn = np.asarray(tokenizer_lib.decode_known(self.tokenizer, codes))
    images = np.asarray(tokenizer_lib.to_uint8(images))
    return np.where(masks.pixels(chosen, size), drawn, images)

  def stream(
      self, key: jax.Array, **asked: Unpack[Asked]
  ) -> Iterator[jax.Array]:
    """Draws code maps row by row: yields int32[B, H, W, D], H times.

    Rows that are still to come are -1, which `Tokenizer.decode` accepts as
    missing codes. The last maps are equal to those of `codes`.
    """
    return self.engine.rows(key, self._request(key, asked))

  def best_of(
      self,
      key: jax.Array,
      n: int,
      score: selection.Score,
      **asked: Unpack[Asked],
  ) -> selection.Selection:
    """Draws every image n times and keeps the draw with the highest score.

    Args:
      key: Random key of all draws. Draw j of image i has the index
        (first_index + i) * n + j, so n = 1 draws the images of a plain call.
      n: Draws of each image.
      score: Function from images uint8[B, Y, X, 3], in the order of the
        conditions, to scores float[B].
      **asked: See the class.
    """
    selection.check_n(n)
    request = self._request(key, asked)
    draw = functools.partial(self._draw, key, request)
    return selection.best_of(draw, score, request, n)

  def rejection_sample(
      self,
      key: jax.Array,
      acceptance_rate: float,
      score: selection.Score,
      **asked: Unpack[Asked],
  ) -> selection.Selection:
    """Draws more images than you ask for and keeps those with the best scores.

    Images with the same condition compete: for m of them, the best m of
    m / acceptance_rate draws are kept, best first. The paper's best figures use
    5 % and a ResNet-101's probability of the class (Section 4).

    Args:
      key: Random key of all draws.
      acceptance_rate: Share of the draws to keep, in (0, 1].
      score: Function from images to scores, as for `best_of`.
      **asked: See the class.
    """
    selection.check_rate(acceptance_rate)
    request = self._request(key, asked)
    draw = functools.partial(self._draw, key, request)
    return selection.accepted(draw, score, request, acceptance_rate)

  def logits(self, codes: Array, **asked: Unpack[AskedCondition]) -> jax.Array:
    """Logits of given codes: int32[B, H, W, D] -> float32[B, H, W, D, K].

    Each code is predicted from the codes before it (teacher forcing). An
    unconditional model needs no `num_images` here.
    """
    return likelihood.logits(self.prior, *self._forward(codes, asked))

  def log_prob(
      self, codes: Array, **asked: Unpack[AskedCondition]
  ) -> likelihood.LogProb:
    """Log-likelihoods of given codes: int32[B, H, W, D] -> `LogProb`.

    They hold for temperature 1, without filters or guidance.
    """
    return likelihood.log_prob(self.prior, *self._forward(codes, asked))

  def check(self, **asked: Unpack[Asked]) -> None:
    """Raises the error of a call with these arguments; computes nothing."""
    self._checked(asked)

  def __repr__(self) -> str:
    size = tokenizer_lib.summary(self.prior_variables)
    kind = conditions.describe(self.prior)
    return f'Sampler({kind}, {size}, {self.tokenizer})'

  @functools.cached_property
  def engine(self) -> engine_lib.Engine:
    """The decode loop, with its own copy of the weights, laid out for it."""
    arrays = self.prior_variables['params'], self.tokenizer.codebooks
    options = {n: getattr(self, n) for n in ('mesh', 'kernels', 'weights')}
    return engine_lib.prepare(self.prior, *arrays, **options)

  def _request(self, key, asked: Asked, count: int | None = None) -> Request:
    requests.check_key(key)
    return self._checked(asked, count)

  def _checked(self, asked: Asked, count: int | None = None) -> Request:
    """Checks a call that passes `count` code maps or images, if any."""
    ask = functools.partial(requests.ask, self.prior, asked, count=count)
    request = ask(sampling=self.sampling, **self._names())
    memory.check_fits(
        self.prior,
        self.tokenizer.model,
        len(request.condition),
        guided=request.guided,
        mesh=self.mesh,
        reserved=self.engine.reserved_bytes(),
    )
    return request

  def _names(self) -> dict[str, Any]:
    return {n: getattr(self, n) for n in ('text_tokenizer', 'class_names')}

  def _draw(self, key, request: Request, indices: np.ndarray) -> tuple:
    """Codes and images of all conditions of a request, at other indices."""
    request = request.replace(indices=indices.astype(np.uint32))
    codes = self.engine.codes(key, request)
    return codes, tokenizer_lib.decode_known(self.tokenizer, codes)

  def _forward(self, codes: Array, asked: AskedCondition) -> tuple:
    """The arguments of a forward pass, checked."""
    requests.check_names(asked, AskedCondition)
    codes = checks.codes(codes, self.prior.code_shape)
    checks.code_values(codes, self.prior.sizes)
    resolve = functools.partial(conditions.resolve, self.prior, **asked)
    condition = resolve(**self._names(), count=len(codes))
    codes = jnp.asarray(codes, jnp.int32)
    return self.prior_variables, self.tokenizer.codebooks, codes, condition
