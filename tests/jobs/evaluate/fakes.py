"""Images, and a network that takes their mean colours."""

import contextlib
import json

from etils import epath
import numpy as np
from scipy import linalg

from rq_jax.evaluation import dialects
from rq_jax.jobs.evaluate import job
from rq_jax.jobs.evaluate import networks
from rq_jax.jobs.evaluate import opening
from rq_jax.jobs.evaluate import request as request_lib
from rq_jax.jobs.evaluate import restoring
from rq_jax.jobs.evaluate import setup

NETWORK = f'inception_{dialects.DIALECTS["rq"].resize}'


def images(count, seed=0, size=16):
  """Random images of random colours, uint8[count, size, size, 3]."""
  rng = np.random.default_rng(seed)
  colours_of = rng.integers(0, 200, (count, 1, 1, 3))
  noise = rng.integers(0, 56, (count, size, size, 3))
  return (colours_of + noise).astype(np.uint8)


def write(path, count, seed=0, labels=None):
  """Writes images, and labels if there are some, to a .npz file."""
  pixels = images(count, seed)
  np.savez(path, pixels, *([] if labels is None else [labels]))
  return str(path)


def colours(pixels):
  """Mean colours as 'pool', float32[n, 3], others as 'logits', 'spatial'."""
  pool = (pixels.mean(axis=(1, 2)) / 64).astype(np.float32)
  logits = np.concatenate([pool, 2 * pool], axis=1)
  return {'pool': pool, 'logits': logits, 'spatial': 3 * pool}


def frechet(first, second):
  """The distance of two sets of features, by SciPy."""
  means = [x.mean(axis=0) for x in (first, second)]
  covariances = [np.cov(x, rowvar=False) for x in (first, second)]
  root = linalg.sqrtm(covariances[0] @ covariances[1]).real
  return np.sum((means[0] - means[1]) ** 2) + np.trace(
      covariances[0] + covariances[1] - 2 * root
  )


def restore(plan, paths, from_file):
  """Stands in for `restoring.restore`."""
  del paths
  samples, reference = [], []
  for name in dict.fromkeys(measure.network for measure in plan.measures):
    measures = [m for m in plan.measures if m.network == name]
    arrays = {m.array for m in measures}
    compared = {
        m.array
        for m in measures
        if m.needs_reference and m.title not in from_file
    }
    samples.append(_network(name, arrays))
    reference += [_network(name, compared)] if compared else []
  return restoring.Restored(samples, reference, clip=None)


def _network(name, arrays):
  widths = {'pool': 3, 'logits': 6, 'spatial': 3}
  return networks.Network(
      name=name,
      widths={n: w for n, w in widths.items() if n in arrays},
      extract=lambda pixels: colours(pixels),  # Tests replace `colours`.
      described={'network': 'fake', 'weights': 'none'},
  )


@contextlib.contextmanager
def networks_replaced(monkeypatch):
  """Replaces all networks by the mean colours."""
  with monkeypatch.context() as patch:
    patch.setattr(restoring, 'restore', restore)
    patch.setattr(restoring, 'check', lambda *_: None)
    yield


def evaluate(out, samples, reference=None, **fields):
  """Evaluates .npz files in chunks of 16; returns what results.json holds."""
  opened = opening.open_images(samples, flag='--samples')
  if isinstance(reference, str):
    fields |= opening.open_reference(reference)
  asked = dict(
      out=str(out),
      samples=opened,
      networks={'inception': 'unused'},
      dialects=['rq'],
      chunk_size=16,
  )
  found, _ = setup.evaluate(request_lib.Request(**(asked | fields)))
  return found


def contents(out):
  """Bytes of the chunks and of the page, and the results."""
  folder = epath.Path(out)
  files = {p.name: p.read_bytes() for p in (folder / 'features').iterdir()}
  return (
      files,
      json.loads((folder / job.RESULTS).read_text()),
      (folder / job.PAGE).read_bytes(),
  )


def by_metric(found):
  """Results by the names of their metrics."""
  return {result['metric']: result for result in found['results']}
