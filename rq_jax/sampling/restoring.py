"""Restores RQ-Transformers with their tokenizers."""

from typing import Any

from etils import epath
import jax

from rq_jax import text
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import sampling_options
from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.sampling import options
from rq_jax.tokenizer import Tokenizer


def restore(
    path: epath.PathLike,
    *,
    step: int | None,
    ema: bool,
    dtype: str | None,
    mesh: jax.sharding.Mesh | None,
    tokenizer: epath.PathLike | None,
    text_tokenizer: epath.PathLike | None,
    verify: bool,
) -> tuple[dict[str, Any], str]:
  """Restores the parts of a generator; see `Sampler.restore`.

  Returns:
    Fields of a `Sampler` by name, and a description of the checkpoint.
  """
  folder, other = stored.folder(path), None
  if tokenizer is not None:
    other = stored.folder(tokenizer, name='tokenizer')
  text_file = text.find(folder, text_tokenizer)
  description = stored.read_rqtransformer(folder)
  own = folder / 'tokenizer'
  restored = Tokenizer.restore(
      other or own, dtype=dtype, mesh=mesh, verify=verify, verbose=False
  )
  build.check_pair(description, restored.model)
  if other and own.exists():
    # The fingerprint is that of the trained dtype; a cast would change it.
    given = Tokenizer.restore(other, mesh=mesh, verify=verify, verbose=False)
    inference_copy.check_fingerprint(own, given.fingerprint)
  prior = build.rqtransformer(description, dtype)
  abstract = build.rqtransformer_variables(prior)
  variables, found = stored.restore_variables(
      folder,
      partitioning.unbox(abstract),
      step=step,
      ema=ema,
      dtype=dtype,
      sharding=mesh and partitioning.state_sharding(abstract, mesh),
      verify=verify,
  )
  parts = dict(
      prior=prior,
      prior_variables=variables,
      tokenizer=restored,
      sampling=options.stored(folder),
      mesh=mesh,
      text_tokenizer=text_file,
      class_names=class_names.read(folder),
  )
  if released := sampling_options.read(folder):
    named = ', '.join(f'{name}={value}' for name, value in released.items())
    found = f'{found}; samples with {named} by default'
  return parts, found
