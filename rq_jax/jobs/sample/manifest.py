"""`job.json`: what a sampling job draws, so that a restart draws the same."""

import dataclasses
import hashlib
import json
from typing import Any

from etils import epath
import flax
import jax

from rq_jax import files as files_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.jobs import versions
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.jobs.sample import layout
from rq_jax.sampling import Sampler

_NAME = 'job.json'
# The fingerprint tells which model it is, wherever it lies.
_INFORMATION = ('checkpoint', 'devices')
_SHOWN = 60  # Characters of a value, in an error.


def describe(
    drawing: drawing_lib.Drawing,
    files: layout.Files,
    origin: dict[str, Any],
) -> dict[str, Any]:
  """All that decides the bytes of a job, as JSON would give it back.

  Other devices round otherwise, which may move a pixel by one level. They are
  noted, but a job may go on without those that it began on.

  Args:
    drawing: What is drawn.
    files: Where it is written.
    origin: Where the generator came from: `checkpoint`, `step`, `ema`, `dtype`.
  """
  sampler = drawing.sampler
  asked = {
      **origin,
      'model': _model(drawing),
      'seed': drawing.seed,
      'num_images': files.num_images,
      'conditions': drawing.conditions.described(),
      'sampling': dataclasses.asdict(drawing.sampling),
      'chunk_size': files.chunk_size,
      'format': files.format,
      'shard_size': files.shard_size if files.format == 'shards' else None,
      'devices': _devices(sampler),
      'versions': versions.of('jax', 'rq_jax'),
  }
  return json.loads(json.dumps(asked))


def open_folder(folder: epath.Path, asked: dict[str, Any]) -> None:
  """Makes the folder of a job, or checks that it holds this very job.

  Only the first process writes.

  Raises:
    ValueError: If it cannot be written, or holds anything else.
  """
  file = folder / _NAME
  if file.exists():
    _check_same(file, asked)
    return
  if folder.exists():
    _check_free(folder)
  if jax.process_index():
    return
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with files_lib.whole(file) as stream:
      stream.write(f'{json.dumps(asked, indent=2)}\n'.encode())
  except files_lib.DiskFullError:
    raise
  except OSError as error:
    raise ValueError(
        f'--out={folder} cannot be written: {error.strerror}. Choose another'
        ' folder, or change its permissions.'
    ) from error


def _model(drawing: drawing_lib.Drawing) -> dict[str, str]:
  """Fingerprints of the models, and of the text tokenizer if it is used."""
  sampler = drawing.sampler
  found = {
      'prior': inference_copy.fingerprint(sampler.prior_variables),
      'tokenizer': sampler.tokenizer.fingerprint,
  }
  if drawing.conditions.kind == 'prompts':
    contents = epath.Path(sampler.text_tokenizer).read_bytes()
    found['text_tokenizer'] = hashlib.sha256(contents).hexdigest()
  return found


def _devices(sampler: Sampler) -> str:
  """What one process draws on."""
  kind = jax.local_devices()[0].device_kind
  if sampler.mesh is None:
    return f'1 x {kind}'
  model = sampler.mesh.shape['model']
  return f'{sampler.mesh.size} x {kind}, model_parallel={model}'


def _check_same(file: epath.Path, asked: dict[str, Any]) -> None:
  found = _flat(files_lib.read_json_object(file))
  asked = _flat(asked)
  for name in [*asked, *(found.keys() - asked)]:
    there, wanted = found.get(name), asked.get(name)
    if there != wanted and name not in _INFORMATION:
      raise ValueError(
          f'{file} was begun with {name}={_shown(there)}, but this is'
          f' {name}={_shown(wanted)}. Choose another --out, or the same values.'
      )
  there, wanted = found.get('devices'), asked['devices']
  if there != wanted and jax.process_index() == 0:
    print(
        f'Note: begun on {there}, goes on with {wanted}, which may round'
        ' otherwise: single codes and pixels may differ.'
    )


def _check_free(folder: epath.Path) -> None:
  """Files of somebody else would be taken for finished ones."""
  own = {layout.PARTS, 'labels.json'}
  for path in folder.iterdir():
    if path.name in own or path.suffix in ('.png', '.npz'):
      raise ValueError(
          f'--out={folder} holds {path.name}, but no {_NAME} that says what it'
          ' is. Choose an empty folder.'
      )


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
  return flax.traverse_util.flatten_dict(tree, sep='.')


def _shown(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
