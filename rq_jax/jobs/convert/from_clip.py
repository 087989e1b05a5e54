"""Converts a CLIP of Hugging Face's `transformers`, with its text tokenizer."""

import pathlib

from rq_jax import files
from rq_jax.conversion import clip_config
from rq_jax.conversion import clip_tables
from rq_jax.distributed import console
from rq_jax.evaluation import clip as clip_evaluation
from rq_jax.jobs.convert import from_network
from rq_jax.jobs.convert import network_table
from rq_jax.models import clip

_SOURCE = (
    'the folder of a CLIP of Hugging Face, such as clip-vit-base-patch32, or'
    ' its model.safetensors or pytorch_model.bin with config.json beside it'
)
# The first of these that a folder holds is converted.
_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
_CONFIG = 'config.json'


def convert(src: str, dst: str) -> None:
  """Converts a CLIP for `evaluation.clip.restore`; see `from_network.convert`.

  Args:
    src: Folder with `model.safetensors` or `pytorch_model.bin`, or one of these
      files. `config.json` must be beside it. `tokenizer.json`, which is needed
      for texts, is copied if it is there.
    dst: Folder to write; it appears whole or not at all.

  Raises:
    ValueError: If a file is missing or damaged, or describes another network.
    DiskFullError: If there is not enough space on the disk.
  """
  src, dst = files.path(src, 'src'), files.path(dst, 'dst')
  weights = _weights(pathlib.Path(src))
  if not weights.is_file():
    raise ValueError(f'--src={src} does not exist. Give {_SOURCE}.')
  config = weights.parent / _CONFIG
  if not config.is_file():
    raise ValueError(
        f'--src={src} has no {_CONFIG} beside its weights, so the sizes of the'
        f" network are unknown. Give {_SOURCE}. OpenAI's own files, such as"
        ' ViT-B-32.pt, are TorchScript programs, which are not executed.'
    )
  fields = clip_config.fields(files.read_json_object(config), str(config))
  module = clip.CLIP(**fields)
  network = network_table.Network(
      title='CLIP',
      source=_SOURCE,
      build=lambda _: (module, fields),
      inputs=clip.inputs(module),
      rows=lambda ours, _: clip_tables.clip(
          ours, image_heads=module.image_heads, text_heads=module.text_heads
      ),
      unused=clip_tables.UNUSED,
  )
  tokenizer = weights.parent / clip_evaluation.TOKENIZER
  companions = [tokenizer] if tokenizer.is_file() else []
  if not companions:
    console.warn(
        f'There is no {tokenizer}, so the converted CLIP can embed images, but'
        ' no texts.'
    )
  from_network.write('clip', network, str(weights), dst, companions=companions)


def _weights(src: pathlib.Path) -> pathlib.Path:
  """The file with the weights."""
  if not src.is_dir():
    return src
  for name in _WEIGHTS:
    if (src / name).is_file():
      return src / name
    if (src / f'{name}.index.json').is_file():
      raise ValueError(
          f'--src={src} holds a CLIP in several files, as {name}.index.json'
          ' lists them. Load it with transformers, and save it with'
          ' `save_pretrained(folder, max_shard_size="100GB")`.'
      )
  raise ValueError(
      f'--src={src} holds neither {" nor ".join(_WEIGHTS)}. Give {_SOURCE}.'
  )
