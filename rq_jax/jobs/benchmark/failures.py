"""What to say about a batch that cannot be computed."""

import jax

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
  text = str(error)
  if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in text:
    text = f'There is not enough memory. Give {instead}.'
  return f'{name}, batch {batch}: {text}'
