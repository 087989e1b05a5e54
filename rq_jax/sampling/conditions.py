"""Which condition a model takes, and checks of it before anything is drawn."""

from collections.abc import Sequence

from etils import epath
import numpy as np

from rq_jax import text as text_lib
from rq_jax.models import rqtransformer
from rq_jax.sampling import labels as labels_lib
from rq_jax.typing import Array


def resolve(
    prior: rqtransformer.RQTransformer,
    *,
    text_tokenizer: epath.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    count: int | None = None,
    labels: Sequence[int | str] | Array | None = None,
    tokens: Array | None = None,
    prompts: Sequence[str] | None = None,
    num_images: int | None = None,
) -> np.ndarray:
  """Turns the condition of a call into int32[B, condition_length].

  Args:
    prior: The model to draw from.
    text_tokenizer: File that turns prompts into tokens, if there is one.
    class_names: Names of the classes by label, if they are known.
    count: Number of code maps or images that the caller passed, if any; an
      unconditional model then needs no `num_images`.
    labels: Classes, B numbers in [0, num_classes) or names of classes.
    tokens: Token ids of B texts, int32[B, text_length].
    prompts: B texts.
    num_images: B, for an unconditional model.

  Raises:
    ValueError: If the model takes another condition, a value is out of range,
      or there is not one condition per image.
  """
  given = dict(
      labels=labels, tokens=tokens, prompts=prompts, num_images=num_images
  )
  names = [name for name, value in given.items() if value is not None]
  kind, example = _kind(prior)
  if kind == 'num_images' and not names and count is not None:
    return np.zeros((count, 1), np.int32)
  text_file = text_tokenizer if kind == 'tokens' else None
  if prompts is not None and names == ['prompts'] and text_file:
    text = text_lib.TextTokenizer.load(text_file)
    rows = text.encode(prompts, prior.text_length, prior.text_vocab_size)
    return _check_count(rows, count, names)
  if names != [kind]:
    got = ' and '.join(names) or 'nothing'
    if names == ['prompts'] and kind == 'tokens':
      got = 'prompts, but it has no text tokenizer'
    elif text_file:
      kind = 'tokens or prompts'
    raise ValueError(
        f'This model takes {kind} and nothing else, such as {example}; got'
        f' {got}.'
    )
  if kind == 'num_images':
    if not isinstance(num_images, int | np.integer) or num_images < 1:
      raise ValueError(
          f'num_images={num_images} must be a whole number of at least 1.'
      )
    return _check_count(np.zeros((num_images, 1), np.int32), count, names)
  values = given[kind]
  if kind == 'labels':
    values = labels_lib.numbers(values, class_names)
  return _check_count(_checked(prior, kind, values), count, names)


def _check_count(rows: np.ndarray, count: int | None, names) -> np.ndarray:
  """The rows, if there is one for each image of the caller."""
  if count not in (None, len(rows)):
    raise ValueError(
        f'{names[0]} asks for {len(rows)} images, but you passed {count}. Pass'
        ' one condition for each image.'
    )
  return rows


def _checked(
    prior: rqtransformer.RQTransformer, name: str, given
) -> np.ndarray:
  """Checks labels or tokens: -> int32[B, condition_length]."""
  values = np.asarray(given)
  shape = (prior.text_length,) if name == 'tokens' else ()
  fits = values.ndim == 1 + len(shape) and values.shape[1:] == shape
  fits = fits and len(values) > 0
  if not fits or not np.issubdtype(values.dtype, np.integer):
    dims = ', '.join(['B', *map(str, shape)])
    raise ValueError(
        f'{name} must be whole numbers of shape [{dims}], such as'
        f' {_kind(prior)[1]}; got {values.dtype} of shape {values.shape}.'
    )
  limit = prior.condition_size
  if bad := sorted({int(v) for v in values.ravel() if not 0 <= v < limit}):
    raise ValueError(
        f'{name}={bad[0]} is out of range. This model knows 0 to {limit - 1}.'
    )
  return values.reshape(len(values), -1).astype(np.int32)


def check_guidance(prior: rqtransformer.RQTransformer) -> None:
  """Raises a ValueError if the model cannot be guided."""
  if _kind(prior)[0] == 'num_images':
    raise ValueError(
        'guidance strengthens a condition, but this model is unconditional.'
        ' Leave guidance at 1.'
    )
  if not prior.null_class:
    raise ValueError(
        'guidance needs a null class, which this model does not have. Train a'
        ' model with --config.model.null_class=True and'
        ' --config.loss.label_dropout=0.1 (you can start from this one with'
        ' --config.init_from), or leave guidance at 1.'
    )


def describe(prior: rqtransformer.RQTransformer) -> str:
  """The condition of a model: 'unconditional', 'labels 0 to 9', '32 tokens'."""
  kind = _kind(prior)[0]
  if kind == 'labels':
    return f'labels 0 to {prior.num_classes - 1}'
  if kind == 'tokens':
    return f'{prior.text_length} tokens'
  return 'unconditional'


def _kind(prior: rqtransformer.RQTransformer) -> tuple[str, str]:
  """The condition that a model takes, and an example of it."""
  if prior.num_classes:
    return 'labels', 'labels=[0, 1]'
  if prior.text_vocab_size:
    return 'tokens', f'tokens=int32[B, {prior.text_length}]'
  return 'num_images', 'num_images=4'
