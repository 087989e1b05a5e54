"""Tiny generators for sampling jobs, and the files in a job's folder."""

import functools
import json

from rq_jax.checkpoints import inference_copy
from rq_jax.jobs.sample import conditions
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.jobs.sample import job
from rq_jax.models import build
from rq_jax.sampling import Sampler
from tests import tiny
from tests.sampling import models

ORIGIN = {'checkpoint': 'x', 'step': 3, 'ema': True, 'dtype': 'float32'}
TEXTS = dict(num_classes=0, text_vocab_size=20, text_length=3, null_class=False)
NOTHING = dict(num_classes=0, null_class=False)


def sampler(**model):
  """A generator of noise on one device, with fields for its model."""
  prior = build.rqtransformer(tiny.stage2_config(model=model).model)
  return Sampler(
      prior=prior,
      prior_variables=models.random_variables(prior),
      tokenizer=models.random_tokenizer(),
  )


def export(path, **model):
  """Writes the same generator as a checkpoint."""
  made = sampler(**model)
  config = tiny.stage2_config(model=model)
  inference_copy.export(path, config, made.prior_variables)
  tokenizer = made.tokenizer
  inference_copy.export(
      path / 'tokenizer', tiny.stage1_config(), tokenizer.variables
  )


def drawing(sampler, *, num_images=7, kind=None, values=None, **fields):
  """Images to draw; by default seven, in chunks of three."""
  chosen = conditions.choose(
      sampler.prior, kind=kind, values=values, num_images=num_images
  )
  fields = dict(chunk_size=3, seed=5) | fields
  return drawing_lib.Drawing(sampler=sampler, conditions=chosen, **fields)


def run(
    out,
    sampler,
    *,
    format='png',
    shard_size=2,
    origin=ORIGIN,
    rejection=None,
    **fields,
):
  """Runs a job with shards of two images; returns its final sentence."""
  return job.sample(
      drawing(sampler, **fields),
      str(out),
      origin=origin,
      format=format,
      shard_size=shard_size,
      rejection=rejection,
  )


def contents(folder):
  """Bytes of all files below a folder, by name; without the checkpoint path."""
  files = {
      str(file.relative_to(folder)): file.read_bytes()
      for file in folder.rglob('*')
      if file.is_file()
  }
  manifest = json.loads(files.pop('job.json'))
  del manifest['checkpoint'], manifest['hash']
  return files | {'job.json': manifest}


@functools.cache
def labelled_sampler():
  """One class-conditional generator, shared by all tests."""
  return sampler()


def run_labels(out, **fields):
  """Runs a job of this generator, with two labels in turn."""
  fields = dict(kind='labels', values=[4, 2]) | fields
  return run(out, labelled_sampler(), **fields)


def counted(monkeypatch):
  """Records the first index of each chunk that is drawn after this call."""
  drawn, call = [], Sampler.__call__

  def draw(self, *args, first_index, **kwargs):
    drawn.append(first_index)
    return call(self, *args, first_index=first_index, **kwargs)

  monkeypatch.setattr(Sampler, '__call__', draw)
  return drawn
