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

from rq_jax.conversion import file_kinds
from rq_jax.conversion import safetensors_format
from rq_jax.conversion import tarball
from rq_jax.conversion.configs import beside
from rq_jax.conversion.torch_format import reading

# Suffixes of files of weights. The releases use the first one.
_SUFFIXES = ('.pt', '.pth', '.ckpt', '.bin', '.safetensors')
_WEIGHTS = ('model.pt', 'model.safetensors')


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
      a folder with the same layout; a folder with one file *.pt, *.pth, *.ckpt,
      *.bin or *.safetensors and a `config.yaml`; a file of `torch.save` or
      safetensors with any name and a `config.yaml` beside it. Either stage may
      be missing. See `beside` for configs that may replace `config.yaml`.
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
        ' with stage1 or stage2 in it, or of a file of torch.save or'
        ' safetensors.'
    )
  elif (found := _other_kind(src)) is not None:
    raise ValueError(f'{src} is {found}')
  elif (
      reading.is_torch_file(src)
      or safetensors_format.is_safetensors(src)
      or (src.suffix in _SUFFIXES and not tarball.is_archive(src))
  ):
    yield _alone(src)
  else:
    scratch = pathlib.Path(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='official-', dir=scratch) as folder:
      unpacked = pathlib.Path(folder)
      tarball.extract(src, unpacked, limit=limit, progress=progress)
      yield _staged(unpacked, src)


def _other_kind(src: pathlib.Path) -> str | None:
  """What a file is that is neither weights nor an archive, and what to do."""
  file_kinds.require_file(src)
  with open(src, 'rb') as file:
    found = file_kinds.recognised(file.read(file_kinds.HEAD_BYTES))
  if found is None or reading.is_torch_file(src) or tarball.is_archive(src):
    return None
  return '. '.join(found)


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
    # Exports to safetensors have the same layout.
    weights = [folder / stage / name for name in _WEIGHTS]
    model = next(filter(pathlib.Path.is_file, weights), weights[0])
    config = beside.find(model)
    for file in (model, config):
      if not file.is_file():
        raise ValueError(
            f'{src} holds {stage}, but not {stage}/{file.name}. Add that file:'
            ' a checkpoint is converted together with its config.'
        )
    found[stage] = model
    if beside.stage(config) != tarball.STAGES.index(stage) + 1:
      raise ValueError(
          f'{src} holds a config of the other stage in {stage}/{config.name}.'
          ' Put RQ-VAEs into stage1 and RQ-Transformers into stage2.'
      )
  if not found:
    raise ValueError(
        f'{src} holds neither stage1/model.pt nor stage2/model.pt. Give an'
        ' archive as the authors released it, or a folder with its layout.'
    )
  return OfficialFiles(**found)


def _alone(model: pathlib.Path) -> OfficialFiles:
  """A single checkpoint; its stage is known only from its config."""
  config = beside.find(model)
  if not config.is_file():
    hint = '' if model.suffix in _SUFFIXES else ' Unpack it if it is a release.'
    raise ValueError(
        f'{model} has no config.yaml beside it. Put the config.yaml that came'
        f' with the checkpoint there.{hint}'
    )
  return OfficialFiles(**{tarball.STAGES[beside.stage(config) - 1]: model})
