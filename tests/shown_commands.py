"""Commands that a text shows, such as the docstring of a config or a page."""

import re
import shlex

_COMMAND = re.compile(
    r'^ *(?:\w+ )?(?:python -m )?rq_jax'
    r' (\w+\s+(?:\w+\s+)?--.*|checkpoint\s+\w+\s+\S+/.*)$'
)


def commands(text):
  """Shell commands `python -m rq_jax ...` in a text, as lists of words."""
  joined = re.sub(r'\\\n\s*', ' ', text)
  found = [_COMMAND.match(line) for line in joined.splitlines()]
  return [shlex.split(match[1].split('  #')[0]) for match in found if match]
