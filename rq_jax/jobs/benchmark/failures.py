"""What to say about work that cannot be computed."""

import jax

_NO_MEMORY = 'There is not enough memory.'
# Errors of batches that need more memory than there is.
FAILURES = (ValueError, MemoryError, jax.errors.JaxRuntimeError)


def sentence(name: str, batch: int, error: Exception, *, instead: str) -> str:
  """The error text for a batch.

  Args:
    name: Name of the model.
    batch: Number of images.
    error: One of `FAILURES`.
    instead: What to change if there is not enough memory.
  """
  text = reason(error)
  if text == _NO_MEMORY:
    text = f'{text} Give {instead}.'
  return f'{name}, batch {batch}: {text}'


def reason(error: Exception) -> str:
  """The text of an error."""
  text = str(error)
  if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in text:
    return _NO_MEMORY
  return text if isinstance(error, FAILURES) else f'{error!r}'
