"""Pretrained networks that metrics use, in folders that `convert` wrote.

Such a folder is an inference copy without an experiment. Its `network.json`
says which network it holds, how to build it, and from which files it came.
"""

from collections.abc import Collection, Mapping
import dataclasses
import json
from typing import Any

from etils import epath
import jax

from rq_jax import files
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.typing import Variables

NAME = 'network.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
  """What `network.json` says of a network.

  Attributes:
    kind: Which network it is, such as 'inception'.
    fields: Fields of the module, such as {'depth': 101}.
    sources: Names and hashes of the files it was converted from, as
      {'file': ..., 'sha256': ...}.
    fingerprint: Hash of its variables, see `inference_copy.fingerprint`.
  """

  kind: str
  fields: Mapping[str, Any]
  sources: tuple[Mapping[str, str], ...]
  fingerprint: str


def write(
    folder: epath.PathLike,
    kind: str,
    variables: Variables,
    *,
    sources: Collection[Mapping[str, str]],
    fields: Mapping[str, Any] | None = None,
) -> Description:
  """Writes a network into a folder that nobody reads yet.

  Arguments are those of `Description`, and the variables of the module.

  Raises:
    DiskFullError: If there is no room for the network.
  """
  described = Description(
      kind=kind,
      fields=dict(fields or {}),
      sources=tuple(sources),
      fingerprint=inference_copy.fingerprint(variables),
  )
  raw = dataclasses.asdict(described)
  epath.Path(folder).mkdir(parents=True, exist_ok=True)
  # Written first, so that the manifest of the copy covers it.
  files.write_json(epath.Path(folder) / NAME, raw)
  inference_copy.write(folder, None, variables)
  return described


def describe(
    path: epath.PathLike, *, kinds: Collection[str], flag: str
) -> Description:
  """Reads which network a folder holds.

  Args:
    path: The folder.
    kinds: The kinds that the caller can use.
    flag: The flag that names the folder, for errors, such as '--classifier'.

  Raises:
    ValueError: If the folder holds none of these networks.
  """
  file = stored.folder(path, name=flag.lstrip('-')) / NAME
  wanted = ' or '.join(f'--from={kind}' for kind in kinds)
  advice = f'Give a folder that `python -m rq_jax convert {wanted}` wrote.'
  if not file.is_file():
    raise ValueError(f'{flag}={path} holds no {NAME}. {advice}')
  raw = files.read_json_object(file)
  names = {field.name for field in dataclasses.fields(Description)}
  if raw.keys() != names:
    raise ValueError(
        f'{file} must have the entries {", ".join(sorted(names))}, but has'
        f' {", ".join(sorted(raw))}. {advice}'
    )
  if raw['kind'] not in kinds:
    raise ValueError(
        f'{flag}={path} holds the network {json.dumps(raw["kind"])}. {advice}'
    )
  raw['sources'] = tuple(raw['sources'])
  return Description(**raw)


def restore(
    path: epath.PathLike,
    described: Description,
    abstract: Variables,
    *,
    sharding: jax.sharding.Sharding | None = None,
) -> Variables:
  """Restores the variables of a network, and checks their fingerprint.

  Args:
    path: The folder.
    described: What `describe` returned for it.
    abstract: Shapes of the variables.
    sharding: Sharding of all variables; None for one device.

  Raises:
    ValueError: If the folder is damaged, or its parts do not belong together.
  """
  variables, _ = stored.restore_variables(path, abstract, sharding=sharding)
  found = inference_copy.fingerprint(variables)
  if found != described.fingerprint:
    raise ValueError(
        f'The network in {path} has the fingerprint {found}, but its {NAME}'
        f' says {described.fingerprint}. Convert it again.'
    )
  return variables
