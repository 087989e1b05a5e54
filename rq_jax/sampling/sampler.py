"""A restored generator: an RQ-Transformer with its tokenizer."""

from collections.abc import Sequence
import dataclasses

import chex
from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import checkpoint
from rq_jax import inference_copy
from rq_jax import partitioning
from rq_jax.config import Config
from rq_jax.models import rqtransformer
from rq_jax.sampling import conditions
from rq_jax.sampling import decode
from rq_jax.sampling.options import Sampling
from rq_jax.tokenizer import Tokenizer
from rq_jax.typing import PyTree, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler:
  """Generates images with a trained RQ-Transformer and its tokenizer.

  ```python
  sampler = rq_jax.Sampler.restore('runs/digits/rqtransformer')
  images = sampler(jax.random.key(0), labels=[3, 7])
  ```

  Every method that draws takes a key and exactly one condition: `labels`,
  `tokens` or `prompts`, or, for an unconditional model, `num_images`. Image i
  of a call draws from `fold_in(key, first_index + i)` alone, whatever else is
  drawn with it.

  Attributes:
    prior: The RQ-Transformer, a Flax module.
    prior_variables: Its 'params'.
    tokenizer: Decodes what it draws.
    sampling: How to draw, unless a call says otherwise.
    mesh: Where to draw; one device if None.
  """

  prior: rqtransformer.RQTransformer
  prior_variables: Variables
  tokenizer: Tokenizer
  sampling: Sampling = Sampling()
  mesh: jax.sharding.Mesh | None = None

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
      verbose: bool = True,
  ) -> 'Sampler':
    """Restores a generator.

    Args:
      path: The workdir of a stage-2 run, or a converted checkpoint; it brings
        its tokenizer along.
      step: Which checkpoint; the newest if None.
      ema: Whether to take averaged parameters, where the run kept them.
      dtype: Of parameters and computation, such as 'bfloat16'; None for as
        trained.
      mesh: Draws batches over its devices; the first device if None.
      tokenizer: Path of another copy of the tokenizer.
      verbose: Whether to say what was restored.

    Raises:
      ValueError: If the path holds no RQ-Transformer, or an incomplete one, or
        the tokenizer is another than it was trained with.
    """
    config = checkpoint.read_config(path, stage=2)
    own = epath.Path(path) / 'tokenizer'
    restored = Tokenizer.restore(
        tokenizer or own, dtype=dtype, mesh=mesh, verbose=False
    )
    check_pair(config, restored)
    if tokenizer and own.exists():
      # Of the parameters as trained; another dtype would round them.
      given = Tokenizer.restore(tokenizer, mesh=mesh, verbose=False)
      inference_copy.check_fingerprint(own, given.fingerprint)
    prior = build_prior(config, dtype)
    abstract = abstract_variables(prior)
    variables, found = checkpoint.restore_variables(
        path,
        partitioning.unbox(abstract),
        step=step,
        ema=ema,
        dtype=dtype,
        sharding=mesh and partitioning.state_sharding(abstract, mesh),
    )
    if verbose:
      print(f'Sampler: {found}.')
    return cls(
        prior=prior, prior_variables=variables, tokenizer=restored, mesh=mesh
    )

  def __call__(
      self,
      key: jax.Array,
      *,
      labels: Sequence[int] | None = None,
      tokens: jax.Array | None = None,
      prompts: Sequence[str] | None = None,
      num_images: int | None = None,
      sampling: Sampling | None = None,
      first_index: int = 0,
  ) -> jax.Array:
    """Draws images: -> uint8[B, S, S, 3]; see the class for the arguments."""
    return self.tokenizer.decode(
        self.codes(
            key,
            labels=labels,
            tokens=tokens,
            prompts=prompts,
            num_images=num_images,
            sampling=sampling,
            first_index=first_index,
        )
    )

  def codes(
      self,
      key: jax.Array,
      *,
      labels: Sequence[int] | None = None,
      tokens: jax.Array | None = None,
      prompts: Sequence[str] | None = None,
      num_images: int | None = None,
      sampling: Sampling | None = None,
      first_index: int = 0,
  ) -> jax.Array:
    """Draws code maps, int32[B, H, W, D].

    Args:
      key: All draws derive from it.
      labels: Classes, B numbers in [0, num_classes).
      tokens: Token ids of B texts, int32[B, text_length].
      prompts: B texts; needs a model that brings its text tokenizer.
      num_images: B, for a model without conditions.
      sampling: How to draw; `self.sampling` if None.
      first_index: Index of the first image among all that the key draws.

    Raises:
      ValueError: If the condition is not what this model takes.
    """
    condition = conditions.resolve(
        self.prior,
        labels=labels,
        tokens=tokens,
        prompts=prompts,
        num_images=num_images,
    )
    indices = first_index + np.arange(len(condition))
    uniforms = decode.uniforms(
        key, indices, self.prior.positions, self.prior.depth
    )
    codes, _ = decode.draw_codes(
        self.prior,
        self.sampling if sampling is None else sampling,
        self.prior_variables['params'],
        self.tokenizer.codebooks,
        self._place(uniforms),
        self._place(condition),
    )
    return codes

  def logits(
      self,
      codes: jax.Array,
      *,
      labels: Sequence[int] | None = None,
      tokens: jax.Array | None = None,
      prompts: Sequence[str] | None = None,
  ) -> jax.Array:
    """Logits of given codes: int32[B, H, W, D] -> float32[B, H, W, D, K].

    Each is predicted from the codes before it. An unconditional model takes
    neither labels nor texts.
    """
    codes = jnp.asarray(codes, jnp.int32)
    chex.assert_shape(codes, (None, *self.prior.code_shape))
    conditional = any(x is not None for x in (labels, tokens, prompts))
    condition = conditions.resolve(
        self.prior,
        labels=labels,
        tokens=tokens,
        prompts=prompts,
        num_images=None if conditional else len(codes),
    )
    return _logits(
        self.prior,
        self.prior_variables,
        self.tokenizer.codebooks,
        codes,
        condition,
    )

  def _place(self, x: jax.Array) -> jax.Array:
    if self.mesh is None:
      return x
    return jax.device_put(x, partitioning.batch_sharding(self.mesh))


def _logits_fn(prior, variables, codebooks, codes, condition):
  return prior.apply(variables, codes, condition, codebooks)


_logits = jax.jit(_logits_fn, static_argnums=0)


def build_prior(
    config: Config, dtype: str | None = None
) -> rqtransformer.RQTransformer:
  """The RQ-Transformer of an experiment, in another dtype if one is given."""
  fields = vars(config.model) | ({'dtype': dtype} if dtype else {})
  return rqtransformer.RQTransformer(**fields)


def abstract_variables(prior: rqtransformer.RQTransformer) -> PyTree:
  """Shapes of a model's variables, with their logical axes."""
  codes = jax.ShapeDtypeStruct((1, *prior.code_shape), np.int32)
  condition = jax.ShapeDtypeStruct((1, prior.condition_length), np.int32)
  words = [
      jax.ShapeDtypeStruct((size, prior.embed_dim), np.float32)
      for size in prior.sizes
  ]
  return jax.eval_shape(prior.init, jax.random.key(0), codes, condition, words)


def check_pair(config: Config, tokenizer: Tokenizer) -> None:
  """Checks that a tokenizer makes the codes that an experiment models.

  Raises:
    ValueError: Naming the field that differs.
  """
  model, quantizer = config.model, tokenizer.model.make_quantizer()
  shared = len(set(quantizer.sizes)) == 1
  made = {
      'code_shape': tuple(tokenizer.model.code_shape),
      'codebook_size': quantizer.sizes[0] if shared else quantizer.sizes,
      'embed_dim': quantizer.codeword_channels,
  }
  for name, value in made.items():
    if getattr(model, name) != value:
      raise ValueError(
          f'config.model.{name}={getattr(model, name)}, but the tokenizer has'
          f' {value}. Give the matching --config.tokenizer, or set'
          f' --config.model.{name}.'
      )
