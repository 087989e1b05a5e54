"""Commands that a text shows, such as the docstring of a config or a page."""

import re
import shlex

_COMMAND = re.compile(
    r'^ *(?:\w+ )?(?:python -m )?rq_jax'
    r' (\w+\s+(?:\w+\s+)?--.*|checkpoint\s+\w+\s+\S+/.*)$'
    # A launcher has flags of its own before the command.
    r'|^ *(?:bash|sbatch) (?:--\S+ )*launch/(?:local\.sh|slurm\.sbatch'
    r'|tpu_pod\.sh run|gke/jobset\.sh)(?: +--\S+)* +([a-z]+ +--.*)$'
)


def commands(text):
  """Commands of rq_jax in a text, as lists of words, without a launcher."""
  joined = re.sub(r'\\\n\s*', ' ', text)
  found = [_COMMAND.match(line) for line in joined.splitlines()]
  return [
      shlex.split((match[1] or match[2]).split('  #')[0])
      for match in found
      if match
  ]
