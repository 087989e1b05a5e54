"""The section `arch` of an official `config.yaml`."""

from collections.abc import Mapping
from typing import Any

# The official code reads these, but no trained model depends on them.
_INERT = (
    'type', 'ema', 'ar_hierarchy', 'use_padding_emb', 'scaled_head_emb_vqvae',
    'code_hier', 'checkpointing', 'hparams.bottleneck_type',
    'hparams.latent_shape', 'hparams.use_padding_idx',
    'hparams.masked_dropout', 'hparams.loss_type',
    'hparams.latent_loss_weight', 'ddconfig.double_z', 'ddconfig.in_channels',
    'ddconfig.out_ch', 'body.block.embed_dim', 'head.block.embed_dim',
)  # fmt: skip


class Fields:
  """Fields of the section by dotted name; remembers which ones were read."""

  def __init__(self, section: Mapping[str, Any], source: str):
    """Takes the section and the path of its file, for errors."""
    self._values = dict(_flatten(section, ''))
    self._source = source
    self._used: set[str] = set(_INERT)

  def get(self, name: str, default: Any = None) -> Any:
    """The value of a field, or the default if it is missing or null."""
    self._used.add(name)
    value = self._values.get(name)
    return default if value is None else value

  def need(self, name: str) -> Any:
    """The value of a field; a ValueError if it is missing."""
    value = self.get(name)
    if value is None:
      raise ValueError(
          f'{self._source} has no arch.{name}, which the model needs. Use the'
          ' config.yaml that was released with the weights.'
      )
    return value

  def must_be(self, name: str, *possible: Any) -> None:
    """Refuses values that rq_jax cannot build; the first one is the default.

    Raises:
      ValueError: If the value is none of the possible ones.
    """
    value = self.get(name, possible[0])
    if value not in possible:
      raise ValueError(
          f'{self._source}: arch.{name}={value!r}, but rq_jax builds only'
          f' {" or ".join(map(repr, possible))}. This checkpoint cannot be'
          ' converted.'
      )

  def unknown(self) -> tuple[str, ...]:
    """Names of the fields that were never read."""
    return tuple(sorted(set(self._values) - self._used))


def _flatten(section: Mapping[str, Any], prefix: str):
  for name, value in section.items():
    if isinstance(value, Mapping):
      yield from _flatten(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value
