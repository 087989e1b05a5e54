"""Finds official checkpoints in archives, in folders and in single files.

The first bytes of a file decide which kind it is. Its name decides only if they
do not, so that the error about a damaged file names the kind that was intended.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import os
import pathlib
import tempfile
from typing import Any

import yaml

from rq_jax.conversion import tarball
from rq_jax.conversion.torch_format import reading

_TYPES = {'rq-vae': 'stage1', 'rq-transformer': 'stage2'}
# Suffixes of files of torch.save. The releases use the first one.
_SUFFIXES = ('.pt', '.pth', '.ckpt', '.bin')
_MAX_DEPTH = 32
_MAX_TEXT = 4096


@dataclasses.dataclass(frozen=True)
class OfficialFiles:
  """Official checkpoints, each with a `config.yaml` beside it.

  Attributes:
    stage1: Path of the RQ-VAE, or None.
    stage2: Path of the RQ-Transformer, or None.
  """

  stage1: pathlib.Path | None = None
  stage2: pathlib.Path | None = None


@contextlib.contextmanager
def open_source(
    src: str | os.PathLike,
    scratch: str | os.PathLike,
    *,
    limit: int = 64 * 2**30,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[OfficialFiles]:
  """The checkpoints in `src`; the files exist while the context is open.

  Args:
    src: One of these. A .tar.gz or .tar file as released, which holds
      `NAME/stage1/model.pt`, its `config.yaml`, and the same files in `stage2`;
      a folder with the same layout; a folder with one file *.pt, *.pth, *.ckpt
      or *.bin and a `config.yaml`; a file of `torch.save` with any name and a
      `config.yaml` beside it. Either stage may be missing.
    scratch: Folder in which an archive is unpacked. The unpacked files are
      removed when the context ends.
    limit: Largest size of an archive, in bytes after decompression.
    progress: Called with the number of bytes read from an archive so far, and
      with their total.

  Raises:
    ValueError: If `src` is none of these.
  """
  src = pathlib.Path(src)
  if src.is_dir():
    yield _in_folder(src)
  elif not src.is_file():
    raise ValueError(
        f'{src} does not exist. Give the path of a .tar.gz file, of a folder'
        ' with stage1 or stage2 in it, or of a file of torch.save.'
    )
  elif reading.is_torch_file(src) or (
      src.suffix in _SUFFIXES and not tarball.is_archive(src)
  ):
    yield _alone(src)
  else:
    scratch = pathlib.Path(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='official-', dir=scratch) as folder:
      unpacked = pathlib.Path(folder)
      tarball.extract(src, unpacked, limit=limit, progress=progress)
      yield _staged(unpacked, src)


def read_config(path: str | os.PathLike) -> dict[str, Any]:
  """Reads a `config.yaml`: dicts, lists, strings and numbers.

  Raises:
    ValueError: If the file is not YAML, or is too large or too complex for such
      a config.
  """
  with open(path, 'rb') as file:
    text = file.read(tarball.MAX_CONFIG + 1)
  config = None
  problem = f'it has more than {tarball.MAX_CONFIG} bytes'
  if len(text) <= tarball.MAX_CONFIG:
    try:
      problem = _trap(text)
      config = None if problem else yaml.safe_load(text)
    # Impossible dates and numbers raise errors of many other types.
    except Exception as error:
      problem = ' '.join(str(error).split())
  if not isinstance(config, dict):
    raise ValueError(
        f'{path} is not a config of an official checkpoint:'
        f' {problem or "it holds no dict"}. Use the config that came with the'
        ' checkpoint.'
    )
  return config


def _trap(text: bytes) -> str | None:
  """Why a small text would be slow to parse or deeply nested, or None."""
  depth = 0
  for event in yaml.parse(text, yaml.SafeLoader):
    if isinstance(event, yaml.AliasEvent):
      return 'it refers back to a part of itself'
    if len(getattr(event, 'value', '')) > _MAX_TEXT:
      return f'it holds a text of more than {_MAX_TEXT} characters'
    depth += isinstance(event, yaml.CollectionStartEvent)
    depth -= isinstance(event, yaml.CollectionEndEvent)
    if depth > _MAX_DEPTH:
      return f'it is nested more than {_MAX_DEPTH} levels deep'
  return None


def _in_folder(folder: pathlib.Path) -> OfficialFiles:
  """The checkpoints in a folder, or in its only subfolder with stages."""
  children = sorted(child for child in folder.iterdir() if child.is_dir())
  staged = [child for child in (folder, *children) if _has_stages(child)]
  if staged and staged[0] == folder:
    return _staged(folder, folder)
  if len(staged) == 1:
    return _staged(staged[0], staged[0])
  if staged:
    raise ValueError(
        f'{folder} holds several models: {[child.name for child in staged]}.'
        ' Give the path of one of them.'
    )
  files = sorted(
      path
      for path in folder.iterdir()
      if path.is_file() and not path.name.startswith('._')
  )
  # The suffix of the releases comes first: other tools leave *.bin beside it.
  released = [path for path in files if path.suffix == _SUFFIXES[0]]
  models = released or [path for path in files if path.suffix in _SUFFIXES]
  if len(models) != 1:
    kinds = ', '.join(f'*{suffix}' for suffix in _SUFFIXES)
    raise ValueError(
        f'{folder} holds neither stage1 nor stage2, and {len(models)} files'
        f' {kinds}: {[path.name for path in models][:10]}. Give the path of a'
        ' folder that holds stage1 or stage2, or of one such file.'
    )
  return _alone(models[0])


def _has_stages(folder: pathlib.Path) -> bool:
  return any((folder / stage).is_dir() for stage in tarball.STAGES)


def _staged(folder: pathlib.Path, src: pathlib.Path) -> OfficialFiles:
  """The checkpoints in `stage1` and `stage2` of a folder, taken from `src`."""
  found = {}
  for stage in tarball.STAGES:
    if not (folder / stage).is_dir():
      continue
    for file in tarball.FILES:
      if not (folder / stage / file).is_file():
        raise ValueError(
            f'{src} holds {stage}, but not {stage}/{file}. Add that file: a'
            ' checkpoint is converted together with its config.'
        )
    model = folder / stage / 'model.pt'
    found[stage] = model
    if _stage(model.with_name('config.yaml')) != stage:
      raise ValueError(
          f'{src} holds a config of the other stage in {stage}/config.yaml. Put'
          ' RQ-VAEs into stage1 and RQ-Transformers into stage2.'
      )
  if not found:
    raise ValueError(
        f'{src} holds neither stage1/model.pt nor stage2/model.pt. Give an'
        ' archive as the authors released it, or a folder with its layout.'
    )
  return OfficialFiles(**found)


def _alone(model: pathlib.Path) -> OfficialFiles:
  """A single checkpoint; its stage is known only from its config."""
  config = model.with_name('config.yaml')
  if not config.is_file():
    hint = '' if model.suffix in _SUFFIXES else ' Unpack it if it is a release.'
    raise ValueError(
        f'{model} has no config.yaml beside it. Put the config.yaml that came'
        f' with the checkpoint there.{hint}'
    )
  return OfficialFiles(**{_stage(config): model})


def _stage(config: pathlib.Path) -> str:
  arch = read_config(config).get('arch')
  kind = arch.get('type') if isinstance(arch, dict) else None
  stage = _TYPES.get(kind) if isinstance(kind, str) else None
  if stage is None:
    raise ValueError(
        f'{config} has arch.type={ascii(kind)[:80]}, which must be one of'
        f' {sorted(_TYPES)}. Use the config that came with the checkpoint.'
    )
  return stage
