"""What Pallas kernels of a program do; they describe themselves."""

import json
import re

from rq_jax.jobs.compile import hlo

_METADATA = re.compile(r'serialized_metadata = "([^"]*)"')


def described(one: hlo.Instruction) -> dict[str, str]:
  """What a kernel says of its cost; {} if it says nothing, or is none.

  `sampling.kernels.costs` lists the names.
  """
  if 'triton' not in one.target:
    return {}
  match = _METADATA.search(one.attributes)
  # XLA writes quotation marks as hexadecimal numbers.
  found = json.loads(match[1].replace(r'\22', '"')) if match else {}
  return found if 'bytes' in found else {}
