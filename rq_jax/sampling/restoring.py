"""Restores RQ-Transformers, with the tokenizers that fit them."""

from etils import epath
import jax

from rq_jax import files
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.tokenizer import Tokenizer
from rq_jax.typing import Variables

_TEXT_TOKENIZER = 'text_tokenizer.json'


def restore(
    path: str,
    *,
    step: int | None,
    ema: bool,
    dtype: str | None,
    mesh: jax.sharding.Mesh | None,
    tokenizer: str | None,
    text_tokenizer: str | None,
) -> tuple[
    rqtransformer.RQTransformer,
    Variables,
    Tokenizer,
    str | epath.Path | None,
    str,
]:
  """Restores the parts of a generator; see `Sampler.restore`.

  Returns:
    The RQ-Transformer, its variables, its tokenizer, the file of its text
    tokenizer if there is one, and a sentence that says what was restored.
  """
  path = files.path(path, 'path')
  if tokenizer is not None:
    tokenizer = files.path(tokenizer, 'tokenizer')
  if text_tokenizer is not None:
    text_tokenizer = files.path(text_tokenizer, 'text_tokenizer')
  description = stored.read_model(path, stage=2)
  own = epath.Path(path) / 'tokenizer'
  restored = Tokenizer.restore(
      tokenizer or own, dtype=dtype, mesh=mesh, verbose=False
  )
  build.check_pair(description, restored.model)
  if tokenizer and own.exists():
    # Of the parameters as trained; another dtype would round them.
    given = Tokenizer.restore(tokenizer, mesh=mesh, verbose=False)
    inference_copy.check_fingerprint(own, given.fingerprint)
  prior = build.rqtransformer(description, dtype)
  abstract = build.rqtransformer_variables(prior)
  variables, found = stored.restore_variables(
      path,
      partitioning.unbox(abstract),
      step=step,
      ema=ema,
      dtype=dtype,
      sharding=mesh and partitioning.state_sharding(abstract, mesh),
  )
  if text_tokenizer is None:
    beside = epath.Path(path) / _TEXT_TOKENIZER
    text_tokenizer = beside if beside.exists() else None
  return prior, variables, restored, text_tokenizer, found
