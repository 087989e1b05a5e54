"""A restored generator: an RQ-Transformer with its tokenizer."""

from collections.abc import Iterator
import dataclasses
import functools
from typing import Unpack

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import console
from rq_jax.models import rqtransformer
from rq_jax.sampling import conditions
from rq_jax.sampling import likelihood
from rq_jax.sampling import masks
from rq_jax.sampling import memory
from rq_jax.sampling import requests
from rq_jax.sampling import restoring
from rq_jax.sampling import selection
from rq_jax.sampling import weights
from rq_jax.sampling.engine import Engine
from rq_jax.sampling.options import Sampling
from rq_jax.sampling.requests import Asked
from rq_jax.sampling.requests import AskedCondition
from rq_jax.sampling.requests import Request
from rq_jax.sampling.selection import Score
from rq_jax.sampling.selection import Selection
from rq_jax.tokenizer import Tokenizer
from rq_jax.typing import Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler:
  """Generates images with a trained RQ-Transformer and its tokenizer.

  ```python
  sampler = rq_jax.Sampler.restore('runs/digits/rqtransformer')
  images = sampler(jax.random.key(0), labels=[3, 7])
  ```

  Every method that draws takes a key and exactly one condition: `labels`,
  `tokens` or `prompts`, or, for an unconditional model, `num_images`; how to
  draw, `sampling`, in place of the sampler's own; and `first_index`: image i of
  a call draws only from `fold_in(key, first_index + i)`, whatever else is drawn
  with it. Methods raise a ValueError, before anything is computed, if the
  condition is not what the model takes, if guidance is asked of a model without
  a null class, or if the batch needs more memory than there is.

  Drawing is causal: position by position in raster order, and by depth in each.
  Codes that are kept condition what is drawn after them, not before.

  Attributes:
    prior: The RQ-Transformer, a Flax module.
    prior_variables: Its 'params'.
    tokenizer: Decodes what it draws.
    sampling: How to draw, unless a call says otherwise.
    mesh: Where to draw; one device if None.
    text_tokenizer: File that turns prompts into tokens, see `TextTokenizer`.
  """

  prior: rqtransformer.RQTransformer
  prior_variables: Variables
  tokenizer: Tokenizer
  sampling: Sampling = Sampling()
  mesh: jax.sharding.Mesh | None = None
  text_tokenizer: str | epath.Path | None = None

  @classmethod
  def restore(
      cls,
      path: str,
      *,
      step: int | None = None,
      ema: bool = True,
      dtype: str | None = None,
      mesh: jax.sharding.Mesh | None = None,
      tokenizer: str | None = None,
      text_tokenizer: str | None = None,
      verbose: bool = True,
  ) -> 'Sampler':
    """Restores a generator.

    Args:
      path: Workdir of a stage-2 run, or a converted checkpoint.
      step: Which checkpoint; the newest if None.
      ema: Whether to take averaged parameters, where the run kept them.
      dtype: Of parameters and computation; as trained if None.
      mesh: Draws batches over its devices; the first device if None.
      tokenizer: Path of another copy of the tokenizer.
      text_tokenizer: File for prompts; that in `path`, if any, if None.
      verbose: Whether to say what was restored.

    Raises:
      ValueError: If the path holds no RQ-Transformer, or an incomplete one, or
        the tokenizer is another than it was trained with.
    """
    prior, variables, restored, text, found = restoring.restore(
        path,
        step=step,
        ema=ema,
        dtype=dtype,
        mesh=mesh,
        tokenizer=tokenizer,
        text_tokenizer=text_tokenizer,
    )
    if verbose:
      console.tell(f'Sampler: {found}.')
    return cls(
        prior=prior,
        prior_variables=variables,
        tokenizer=restored,
        mesh=mesh,
        text_tokenizer=text,
    )

  def __call__(self, key: jax.Array, **asked: Unpack[Asked]) -> jax.Array:
    """Draws images: -> uint8[B, S, S, 3]."""
    codes = self.codes(key, **asked)
    return tokenizer_lib.decode_known(self.tokenizer, codes)

  def codes(self, key: jax.Array, **asked: Unpack[Asked]) -> jax.Array:
    """Draws code maps: -> int32[B, H, W, D]."""
    request = self._request(asked)
    return self.engine.codes(key, request)

  def complete(
      self,
      key: jax.Array,
      codes: jax.Array | np.ndarray,
      keep: jax.Array | np.ndarray,
      **asked: Unpack[Asked],
  ) -> jax.Array:
    """Draws a part of code maps and keeps the rest: -> int32[B, H, W, D].

    What is kept before a position conditions it, what is kept after it does
    not. Keeping the first positions in raster order continues them, as the
    official `start_loc` does.

    Args:
      key: All draws derive from it.
      codes: int32[B, H, W, D]; anything where it is not kept.
      keep: bool[H, W], for whole stacks, or bool[H, W, D]; with a leading B
        for each image its own.
      **asked: See the class; unconditional models take no `num_images` here.
    """
    keep = masks.expand(self.prior, keep, len(codes))
    codes = masks.check_codes(self.prior, codes, keep)
    request = self._request(asked, len(codes))
    known = codes.reshape(keep.shape)
    return self.engine.codes(key, request.replace(given=known, keep=keep))

  def edit(
      self,
      key: jax.Array,
      images: jax.Array | np.ndarray,
      redraw: jax.Array | np.ndarray,
      **asked: Unpack[Asked],
  ) -> np.ndarray:
    """Draws regions of images anew: -> uint8[B, S, S, 3].

    A position of the code map is drawn anew if any pixel of its cell is to be;
    the pixels of all other cells are those given. See `complete` for what
    conditions what.

    Args:
      key: All draws derive from it.
      images: uint8, or float32 in [-1, 1], [B, S, S, 3].
      redraw: bool[S, S], or bool[B, S, S] for each image its own.
      **asked: See the class; unconditional models take no `num_images` here.
    """
    images = tokenizer_lib.narrow(images)
    size = self.tokenizer.model.image_size
    chosen = masks.cells(self.prior.code_shape, size, redraw, len(images))
    self._request(asked, len(images))  # Refuses before anything is encoded.
    codes = self.tokenizer.encode(images)
    keep = np.broadcast_to(~chosen[..., None], codes.shape)
    codes = self.complete(key, codes, keep, **asked)
    if images.dtype != jnp.uint8:
      images = tokenizer_lib.to_uint8(images)
    drawn = np.asarray(tokenizer_lib.decode_known(self.tokenizer, codes))
    return np.where(masks.pixels(chosen, size), drawn, np.asarray(images))

  def stream(
      self, key: jax.Array, **asked: Unpack[Asked]
  ) -> Iterator[jax.Array]:
    """Draws code maps row by row: yields int32[B, H, W, D], H times.

    Codes that are not drawn yet are -1, which `Tokenizer.decode` takes for
    nothing; the last ones are those of `codes`.
    """
    request = self._request(asked)
    return self.engine.rows(key, request)

  def best_of(
      self, key: jax.Array, n: int, score: Score, **asked: Unpack[Asked]
  ) -> Selection:
    """Draws every image n times and takes the one with the highest score.

    Args:
      key: All draws derive from it. Draw j of image i is that of the index
        (first_index + i) * n + j, so that n = 1 chooses nothing.
      n: Draws of each image.
      score: Of images uint8[B, S, S, 3], in the order asked for: float[B].
      **asked: See the class.
    """
    selection.check_n(n)
    request = self._request(asked)
    return selection.best_of(self._attempts(key, request), score, request, n)

  def rejection_sample(
      self,
      key: jax.Array,
      acceptance_rate: float,
      score: Score,
      **asked: Unpack[Asked],
  ) -> Selection:
    """Draws more images than asked for and accepts those with the best scores.

    Images with the same condition compete: of m that are asked for, the best m
    of m / acceptance_rate are taken, the best first. The paper's best figures
    accept 5 %, scored by a ResNet-101's probability of the class (Section 4).

    Args:
      key: All draws derive from it.
      acceptance_rate: In (0, 1].
      score: As of `best_of`.
      **asked: See the class.
    """
    selection.check_rate(acceptance_rate)
    request = self._request(asked)
    attempts = self._attempts(key, request)
    return selection.accepted(attempts, score, request, acceptance_rate)

  def logits(
      self, codes: jax.Array | np.ndarray, **asked: Unpack[AskedCondition]
  ) -> jax.Array:
    """Logits of given codes: int32[B, H, W, D] -> float32[B, H, W, D, K].

    Each is predicted from the codes before it. An unconditional model takes
    neither labels nor texts.
    """
    return likelihood.logits(self.prior, *self._forward(codes, asked))

  def log_prob(
      self, codes: jax.Array | np.ndarray, **asked: Unpack[AskedCondition]
  ) -> likelihood.LogProb:
    """Log-likelihoods of given codes: int32[B, H, W, D] -> `LogProb`.

    At temperature 1, without filters and guidance, whatever `sampling` says.
    """
    return likelihood.log_prob(self.prior, *self._forward(codes, asked))

  def check(self, **asked: Unpack[Asked]) -> None:
    """Raises the ValueError that drawing so would; computes nothing."""
    self._request(asked)

  @functools.cached_property
  def engine(self) -> Engine:
    """The decode loop, with weights laid out for it: a second copy of them."""
    params, codebooks = self.prior_variables['params'], self.tokenizer.codebooks
    with jax.ensure_compile_time_eval():  # Also where a caller jits.
      laid_out = weights.prepare(self.prior, params, codebooks)
    return Engine(prior=self.prior, weights=laid_out, mesh=self.mesh)

  def _request(self, asked: Asked, count: int | None = None) -> Request:
    """Checks what a call asks for, of `count` given codes or images if any."""
    request = requests.ask(
        self.prior,
        asked,
        sampling=self.sampling,
        text_tokenizer=self.text_tokenizer,
        count=count,
    )
    memory.check_fits(
        self.prior,
        self.tokenizer.model,
        len(request.condition),
        guided=request.guided,
        mesh=self.mesh,
    )
    return request

  def _attempts(self, key: jax.Array, request: Request) -> selection.Attempt:
    def attempt(indices):
      these = request.replace(indices=indices.astype(np.uint32))
      codes = self.engine.codes(key, these)
      return codes, tokenizer_lib.decode_known(self.tokenizer, codes)

    return attempt

  def _forward(self, codes, asked: AskedCondition) -> tuple:
    """What a forward pass is given, checked: codes and their conditions."""
    codes = masks.check_codes(self.prior, codes)
    given = dict(text_tokenizer=self.text_tokenizer, count=len(codes))
    condition = conditions.resolve(self.prior, **given, **asked)
    return self.prior_variables, self.tokenizer.codebooks, codes, condition
