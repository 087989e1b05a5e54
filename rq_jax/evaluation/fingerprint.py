"""Describes what a result depends on, and hashes it.

Two results with equal fingerprints were computed in the same way, from as many
images. The versions of programs are stored, but are not hashed: in each
dialect, they change only the last digits.
"""

from collections.abc import Mapping
import hashlib
import json
import math
from typing import Any

import numpy as np

from rq_jax.evaluation.dialects import Dialect
from rq_jax.evaluation.references import Reference

_DIGITS = 12
# The programs whose versions `describe` needs.
PROGRAMS = ('rq_jax', 'jax', 'numpy', 'pillow')
HASH = 'hash'


def describe(
    metric: str,
    dialect: Dialect | None,
    *,
    count: int,
    extractors: Mapping[str, Mapping[str, Any]],
    versions: Mapping[str, str],
    reference: Reference | None = None,
    settings: Mapping[str, Any] | None = None,
    images: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """The fingerprint of a result, as a value for JSON.

  Args:
    metric: Name of the metric.
    dialect: The dialect; None for a metric that has none.
    count: Number of judged images.
    extractors: `description` of each extractor, by name.
    versions: Versions of `PROGRAMS`, by name.
    reference: What the images were compared with; None if with nothing.
    settings: Settings of the metric beyond those of the dialect, such as the
      seed of a bootstrap.
    images: Where the images came from: for samples, the fingerprint of the
      model and the settings of the sampler. Paths do not belong here.

  Returns:
    All arguments, and 'hash', 12 hexadecimal digits that cover all of them
    except the versions.

  Raises:
    ValueError: If a value is not one for JSON.
  """
  found: dict[str, Any] = {
      'metric': metric,
      'dialect': dialect and dialect.name,
      'n': count,
      'extractors': {
          name: dict(said) for name, said in sorted(extractors.items())
      },
      'reference': reference and _of_reference(reference),
      'settings': dict(settings or {}),
      'images': dict(images or {}),
  }
  found = _plain(found, 'fingerprint')
  text = json.dumps(found, sort_keys=True, allow_nan=False)
  found[HASH] = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
  found['versions'] = {name: versions[name] for name in PROGRAMS}
  return found


def line(found: Mapping[str, Any]) -> str:
  """One line that describes a fingerprint to users."""
  parts = [f'{found[HASH]}: {found["metric"]} of {found["n"]} images']
  if found['dialect']:
    parts.append(f'dialect {found["dialect"]}')
  parts += [
      f'{name} {said.get("weights", "?")} on images {said.get("resize", "?")}'
      for name, said in found['extractors'].items()
  ]
  if said := found['reference']:
    parts.append(f'reference {said["known"] or said["sha256"][:_DIGITS]}')
  return ', '.join(parts)


def _of_reference(reference: Reference) -> dict[str, Any]:
  """The contents of a reference; its name and place do not count."""
  said = reference.description
  return {
      name: said.get(name)
      for name in ('sha256', 'known', 'dialect', 'network', 'weights')
  } | {'n': reference.count}


def _plain(value: Any, at: str) -> Any:
  """The value with Python's own types; tuples become lists."""
  if isinstance(value, Mapping):
    return {str(k): _plain(v, f'{at}.{k}') for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(v, f'{at}[{i}]') for i, v in enumerate(value)]
  if isinstance(value, np.generic):
    value = value.item()
  if value is None or isinstance(value, str | int):
    return value
  if isinstance(value, float) and math.isfinite(value):
    return value
  raise ValueError(
      f'{at} is {value!r}, but a fingerprint holds texts, finite numbers, None,'
      ' lists and dicts. Give one of these.'
  )
