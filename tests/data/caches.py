"""Small caches of features, and their contents."""

import json

import numpy as np

from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import records
from rq_jax.data.feature_cache import writer

SHAPE = (2, 3, 4)


def examples(count, views=1):
  """Features and labels of a split; the labels lie in [100, 200)."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(count, views, *SHAPE)).astype(np.float32)
  return values, 100 + np.arange(count) % 100


def split(path, count, num_shards=1, **fields):
  """The training split of a small cache; `fields` replace its defaults."""
  defaults = dict(name='train', num_classes=200, fingerprint='abc', shape=SHAPE)
  return layout.Split(
      path=path,
      num_examples=count,
      num_shards=num_shards,
      **defaults | fields,
  )


def open_writer(path, count, shard=0, num_shards=1, **fields):
  """Opens a writer for a shard of a small cache."""
  return writer.Writer(split(path, count, num_shards, **fields), shard)


def write(path, values, labels, num_shards=1, *, texts=None, **fields):
  """Writes a whole split, in batches of two."""
  views, *shape = values.shape[1:]
  whole = split(
      path,
      len(values),
      num_shards,
      shape=tuple(shape),
      views=views,
      has_texts=texts is not None,
      **fields,
  )
  for shard in range(num_shards):
    with writer.Writer(whole, shard) as opened:
      rows = whole.rows(shard)
      for start in range(rows.start, rows.stop, 2):
        batch = slice(start, min(start + 2, rows.stop))
        opened.write(values[batch], labels[batch], texts and texts[batch])
      opened.close()
  records.finish(whole)


def write_version_1(path, values, labels, bounds, name='train', **changes):
  """Writes a split of version 1 by hand.

  The bytes are those that the writer of version 1 wrote: `np.save` for arrays,
  and a `meta.json` without views, texts or hashes.

  Args:
    path: Folder of the cache.
    values: Features, float16[n, H, W, C].
    labels: int[n].
    bounds: Index of the first example of each shard, and n.
    name: Name of the split.
    **changes: Fields of meta.json. None removes a field.
  """
  folder = path / name
  folder.mkdir(parents=True)
  shards, number = [], len(bounds) - 1
  for shard, (start, stop) in enumerate(zip(bounds, bounds[1:])):
    names = [
        f'{kind}-{shard:05d}-of-{number:05d}.npy'
        for kind in ('features', 'label')
    ]
    np.save(folder / names[0], values[start:stop])
    np.save(folder / names[1], labels[start:stop].astype(np.int32))
    shards.append(names)
  meta = {
      'version': 1,
      'shape': list(values.shape[1:]),
      'dtype': 'float16',
      'num_examples': len(values),
      'split': name,
      'shards': shards,
  } | changes
  meta = {name: value for name, value in meta.items() if value is not None}
  (folder / 'meta.json').write_text(json.dumps(meta, indent=2) + '\n')
