"""Reads the `config.json` of a CLIP of Hugging Face's `transformers`."""

from collections.abc import Mapping
from typing import Any

_ADVICE = 'Give the folder of a CLIP with a ViT, such as clip-vit-base-patch32.'
# Our names of the fields, and the values of fields that a file leaves out.
_IMAGE = {
    'hidden_size': ('image_width', 768),
    'intermediate_size': ('image_mlp', 3072),
    'num_hidden_layers': ('image_layers', 12),
    'num_attention_heads': ('image_heads', 12),
    'image_size': ('image_size', 224),
    'patch_size': ('patch_size', 32),
}
_TEXT = {
    'hidden_size': ('text_width', 512),
    'intermediate_size': ('text_mlp', 2048),
    'num_hidden_layers': ('text_layers', 12),
    'num_attention_heads': ('text_heads', 8),
    'max_position_embeddings': ('text_length', 77),
    'vocab_size': ('vocab_size', 49408),
}
# Fields that the module does not have: the only value that it computes with.
_FIXED = {'num_channels': 3, 'layer_norm_eps': 1e-5}
_GELUS = {'quick_gelu': 'sigmoid', 'gelu': 'exact'}
# In the original files, the end token had this wrong number. Hugging Face then
# takes the largest token of a text.
_WRONG_END = 2


def fields(raw: Mapping[str, Any], source: str) -> dict[str, Any]:
  """The fields of `models.clip.CLIP`.

  Args:
    raw: The object in `config.json`.
    source: Path of the file, for errors.

  Raises:
    ValueError: If it describes no CLIP, or one that `models.clip` lacks.
  """
  if raw.get('model_type') != 'clip':
    raise ValueError(
        f'{source} describes the model_type {raw.get("model_type")!r}, but must'
        f" describe 'clip'. {_ADVICE}"
    )
  image, text = (_part(raw, name, source) for name in ('vision', 'text'))
  found = {'embed_dim': raw.get('projection_dim', 512)}
  for part, table in ((image, _IMAGE), (text, _TEXT)):
    found |= {ours: part.get(name, d) for name, (ours, d) in table.items()}
  for name, value in found.items():
    if type(value) is not int or value < 1:
      raise ValueError(
          f'{source} gives {value!r} for {name}, but it must be a positive'
          f' integer. {_ADVICE}'
      )
  _check_sizes(found, source)
  gelus = [part.get('hidden_act', 'quick_gelu') for part in (image, text)]
  if gelus[0] != gelus[1] or gelus[0] not in _GELUS:
    raise ValueError(
        f'{source} has the activations {gelus[0]!r} and {gelus[1]!r}, but both'
        f' must be {" or both ".join(map(repr, _GELUS))}. {_ADVICE}'
    )
  end = text.get('eos_token_id', 49407)
  if type(end) is not int:
    raise ValueError(
        f'{source} has text_config.eos_token_id={end}, but it must be one'
        f' number. {_ADVICE}'
    )
  return found | {
      'gelu': _GELUS[gelus[0]],
      'end_id': None if end == _WRONG_END else end,
  }


def _part(raw: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
  """The fields of one tower. Those under `..._config_dict` come first."""
  part = {}
  for key in (f'{name}_config', f'{name}_config_dict'):
    value = raw.get(key)
    if not isinstance(value, dict | type(None)):
      raise ValueError(f'{source} has no object {key}. {_ADVICE}')
    part |= value or {}
  for field, only in _FIXED.items():
    if part.get(field, only) != only:
      raise ValueError(
          f'{source} has {name}_config.{field}={part[field]}, but only {only}'
          f' is implemented. {_ADVICE}'
      )
  return part


def _check_sizes(found: Mapping[str, int], source: str) -> None:
  if found['patch_size'] > found['image_size']:
    raise ValueError(
        f'{source} has patches of {found["patch_size"]} pixels in images of'
        f' {found["image_size"]}. {_ADVICE}'
    )
  for tower in ('image', 'text'):
    width, heads = found[f'{tower}_width'], found[f'{tower}_heads']
    if width % heads:
      raise ValueError(
          f'{source} has {heads} attention heads for a width of {width}, which'
          f' they do not divide. {_ADVICE}'
      )
