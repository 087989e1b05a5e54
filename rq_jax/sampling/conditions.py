"""What a model may be asked for, checked before anything is drawn."""

from collections.abc import Sequence

import jax
import numpy as np

from rq_jax.models import rqtransformer


def resolve(
    prior: rqtransformer.RQTransformer,
    *,
    labels: Sequence[int] | None = None,
    tokens: jax.Array | None = None,
    prompts: Sequence[str] | None = None,
    num_images: int | None = None,
) -> np.ndarray:
  """Turns what a call asks for into int32[B, condition_length].

  Raises:
    ValueError: If it is not exactly what the model takes, or out of range.
  """
  given = {
      'labels': labels,
      'tokens': tokens,
      'prompts': prompts,
      'num_images': num_images,
  }
  names = [name for name, value in given.items() if value is not None]
  wanted, example = _wanted(prior)
  if names != [wanted]:
    got = ' and '.join(names) or 'nothing'
    if names == ['prompts'] and wanted == 'tokens':
      got = 'prompts, but it has no text tokenizer'
    raise ValueError(
        f'This model takes {wanted} and nothing else, such as {example}; got'
        f' {got}.'
    )
  if wanted == 'num_images':
    if not isinstance(num_images, int | np.integer) or num_images < 1:
      raise ValueError(
          f'num_images={num_images} must be a whole number of at least 1.'
      )
    return np.zeros((num_images, 1), np.int32)
  values = np.asarray(given[wanted])
  shape = (prior.text_length,) if wanted == 'tokens' else ()
  fits = values.ndim == 1 + len(shape) and values.shape[1:] == shape
  if not fits or not np.issubdtype(values.dtype, np.integer):
    dims = ', '.join(['B', *map(str, shape)])
    raise ValueError(
        f'{wanted} must be whole numbers of shape [{dims}], such as {example};'
        f' got {values.dtype} of shape {values.shape}.'
    )
  limit = prior.condition_size
  if bad := sorted({int(v) for v in values.ravel() if not 0 <= v < limit}):
    raise ValueError(
        f'{wanted}={bad[0]} is out of range: this model knows 0 to {limit - 1}.'
    )
  return values.reshape(len(values), -1).astype(np.int32)


def _wanted(prior: rqtransformer.RQTransformer) -> tuple[str, str]:
  if prior.num_classes:
    return 'labels', 'labels=[0, 1]'
  if prior.text_vocab_size:
    return 'tokens', f'tokens=int32[B, {prior.text_length}]'
  return 'num_images', 'num_images=4'
