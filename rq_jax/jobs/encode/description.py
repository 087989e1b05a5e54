"""All values that decide the bytes of a cache, for `job.json`."""

from collections.abc import Sequence
from typing import Any

import jax

from rq_jax.config import schema
from rq_jax.config import sections
from rq_jax.config import source_table
from rq_jax.data.feature_cache import layout
from rq_jax.jobs import versions
from rq_jax.jobs.encode import encoder as encoder_lib
from rq_jax.jobs.encode import shards as shards_lib


def describe(
    encoder: encoder_lib.Encoder,
    shards: Sequence[shards_lib.Shard],
    seed: int,
) -> dict[str, Any]:
  """All values that decide the bytes of a cache; see `manifest.open_folder`.

  Args:
    encoder: The encoder, and the data that it encodes.
    shards: Shards of both splits.
    seed: Seed of the views, which counts only if there are several.
  """
  split = shards[0].split
  kept = _fields(encoder.data)
  views: dict[str, Any] = {'count': split.views}
  augmentation = {name: kept.pop(name) for name in ('crop', 'flip')}
  if split.views > 1:
    views |= augmentation | {'seed': seed}
  return {
      'format_version': layout.FORMAT_VERSION,
      'tokenizer': split.fingerprint,
      'data': kept,
      'views': views,
      'splits': {
          shard.split.name: shard.described()
          for shard in shards
          if not shard.number
      },
      'devices': f'{encoder.mesh.size} x {jax.local_devices()[0].device_kind}',
      'versions': versions.of('jax', 'rq_jax'),
  }


def _fields(data: sections.Data) -> dict[str, Any]:
  """The fields that name the data or decide its pixels."""
  read = source_table.SOURCES[data.source].reads
  unread = {name for name in source_table.SOME_READ if name not in read}
  return {
      name: getattr(data, name)
      for name, field in schema.table(sections.Data).items()
      # Fields that may change in a training run decide no pixel.
      if name in ('source', 'path')
      or not (field.declaration.resumable or name in unread)
  }
