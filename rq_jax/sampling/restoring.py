"""Restores RQ-Transformers with their tokenizers."""

from etils import epath
import jax

from rq_jax import text
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.tokenizer import Tokenizer
from rq_jax.typing import Variables


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
    epath.Path | None,
    str,
]:
  """Restores the parts of a generator; see `Sampler.restore`.

  Returns:
    The RQ-Transformer, its variables, its tokenizer, the file of its text
    tokenizer if there is one, and a description of the restored checkpoint.
  """
  path = stored.folder(path)
  if tokenizer is not None:
    tokenizer = stored.folder(tokenizer, name='tokenizer')
  text_file = text.find(path, text_tokenizer)
  description = stored.read_model(path, stage=2)
  own = path / 'tokenizer'
  restored = Tokenizer.restore(
      tokenizer or own, dtype=dtype, mesh=mesh, verbose=False
  )
  build.check_pair(description, restored.model)
  if tokenizer and own.exists():
    # The fingerprint is that of the trained dtype; a cast would change it.
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
  return prior, variables, restored, text_file, found
