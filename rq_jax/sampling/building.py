"""RQ-Transformers from experiments, and the tokenizers that fit them."""

from etils import epath
import jax
import numpy as np

from rq_jax import checkpoint
from rq_jax import inference_copy
from rq_jax import partitioning
from rq_jax.config import Config
from rq_jax.models import rqtransformer
from rq_jax.tokenizer import Tokenizer
from rq_jax.typing import PyTree, Variables


def restore(
    path: str,
    *,
    step: int | None,
    ema: bool,
    dtype: str | None,
    mesh: jax.sharding.Mesh | None,
    tokenizer: str | None,
) -> tuple[rqtransformer.RQTransformer, Variables, Tokenizer, str]:
  """Restores the parts of a generator; see `Sampler.restore`.

  Returns:
    The RQ-Transformer, its variables, its tokenizer, and a sentence that says
    what was restored.
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
  return prior, variables, restored, found


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
