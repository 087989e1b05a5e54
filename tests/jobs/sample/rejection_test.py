"""Rejection sampling as a job, against the selection in memory."""

import functools
import json
import math

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax.jobs.sample import layout
from rq_jax.sampling import Sampling
from tests import folders
from tests.jobs import generators
from tests.jobs import kills
from tests.jobs import rejection

KEY = jax.random.key(5)
LABELS = np.resize([4, 2], 7)


def accepted(out):
  return json.loads((out / 'accepted.json').read_text())


def images(out):
  with np.load(out / 'samples.npz') as arrays:
    return arrays['arr_0']


def by_memory(rate, labels, *, sampling=None, classes=None):
  """The selection of the public method."""
  rule = rejection.rule(rate, classes=classes)
  return generators.labelled_sampler().rejection_sample(
      KEY,
      rate,
      lambda images: rule.scores(images, labels),
      labels=labels,
      sampling=sampling,
  )


def check(out, expected, labels):
  assert accepted(out)['indices'] == expected.indices.tolist()
  np.testing.assert_array_equal(
      np.float32(accepted(out)['scores']), expected.scores
  )
  np.testing.assert_array_equal(images(out), expected.images)
  np.testing.assert_array_equal(
      np.load(out / 'accepted_codes.npy'), expected.codes
  )
  with np.load(out / 'samples.npz') as arrays:
    np.testing.assert_array_equal(arrays['arr_1'], labels)


@pytest.mark.parametrize('rate', [1, 0.3, 0.11])
def test_a_job_keeps_the_images_of_the_selection_in_memory(rate, tmp_path):
  # Batches of one size, which round in the same way.
  rejection.run(tmp_path, rate=rate, format='npz', chunk_size=7)
  check(tmp_path, by_memory(rate, LABELS), LABELS)


def test_a_label_given_twice_is_one_class(tmp_path):
  fields = dict(values=[4, 2, 4], format='npz', chunk_size=7)
  rejection.run(tmp_path, **fields)
  labels = np.resize([4, 2, 4], 7)
  check(tmp_path, by_memory(0.25, labels), labels)


def test_guidance_and_filters_count(tmp_path):
  sampling = Sampling(guidance=2.0, top_k=5)
  rejection.run(tmp_path, format='npz', chunk_size=7, sampling=sampling)
  check(tmp_path, by_memory(0.25, LABELS, sampling=sampling), LABELS)
  plain = by_memory(0.25, LABELS)
  assert not np.array_equal(images(tmp_path), plain.images)


def test_several_classes_of_the_classifier_may_count_as_one(tmp_path):
  classes = tuple((n, (n + 1) % 10) for n in range(10))
  rejection.run(tmp_path, format='npz', chunk_size=7, classes=classes)
  check(tmp_path, by_memory(0.25, LABELS, classes=classes), LABELS)
  assert (
      accepted(tmp_path)['indices'] != by_memory(0.25, LABELS).indices.tolist()
  )


@functools.cache
def undisturbed(name):
  """The files of a job in chunks of three, without interruption."""
  folder = folders.new() / name
  rejection.run(folder, format=name)
  return folder


@pytest.mark.parametrize('name', layout.FORMATS)
def test_every_format_has_the_same_images(name):
  folder, expected = undisturbed(name), images(undisturbed('npz'))
  if name == 'png':
    found = [Image.open(folder / f'00000{i}.png') for i in range(7)]
    assert json.loads((folder / 'labels.json').read_text()) == LABELS.tolist()
  else:
    shards = sorted(folder.glob('*.npz'))
    found = np.concatenate([np.load(file)['arr_0'] for file in shards])
  np.testing.assert_array_equal([np.asarray(x) for x in found], expected)
  extra = {'accepted.json', 'accepted_codes.npy', 'job.json', 'grid.png'}
  assert extra < {file.name for file in folder.iterdir()}
  assert not (folder / 'draws').exists()


def test_the_recorded_indices_draw_the_same_images_again():
  out = undisturbed('npz')
  found = accepted(out)
  codes = generators.labelled_sampler().codes(
      KEY, labels=LABELS, indices=found['indices']
  )
  np.testing.assert_array_equal(np.load(out / 'accepted_codes.npy'), codes)
  rule = rejection.rule()
  scores = rule.scores(images(out), LABELS)
  np.testing.assert_allclose(found['scores'], scores, rtol=1e-6)
  mean = found['mean_probability']
  np.testing.assert_allclose(
      mean['of_accepted_draws'], np.exp(scores).mean(), rtol=1e-6
  )
  assert mean['of_all_draws'] < mean['of_accepted_draws']


@pytest.mark.parametrize('rate', [0.25, 0.3, 1 / 3, 0.07])
def test_a_class_is_drawn_exactly_as_often_as_the_rate_says(
    rate, tmp_path, monkeypatch
):
  drawn, scores = [], rejection.rule().scores.__func__

  def record(self, images, labels):
    drawn.extend(labels.tolist())
    return scores(self, images, labels)

  monkeypatch.setattr(type(rejection.rule()), 'scores', record)
  rejection.run(tmp_path, rate=rate, format='npz')
  needed = {4: math.ceil(4 / rate), 2: math.ceil(3 / rate)}
  total = sum(needed.values())
  assert accepted(tmp_path)['draws'] == total
  # Class by class; the last chunk is padded.
  assert drawn[:total] == [2] * needed[2] + [4] * needed[4]
  assert len(drawn) == 3 * math.ceil(total / 3)


def test_memory_holds_a_few_chunks_however_many_are_drawn(tmp_path):
  class Watching(rejection.Classifier):
    most = 0

    def __call__(self, images):
      held = [a for a in jax.live_arrays() if a.shape[1:] == (16, 16, 3)]
      self.most = max(self.most, sum(len(a) for a in held if a.size))
      return super().__call__(images)

  before = sum(len(a) for a in jax.live_arrays() if a.shape[1:] == (16, 16, 3))
  watching = Watching()
  rejection.run(tmp_path, rate=0.02, format='npz', classifier=watching)
  assert accepted(tmp_path)['draws'] == 350
  assert 3 <= watching.most - before <= 3 * 3  # Three chunks of three.
  assert set(watching.seen) == {3}


def test_images_with_probability_1_in_float32_still_have_an_order(tmp_path):
  class Sure(rejection.Classifier):
    """Brighter images are surer to be a 4."""

    def __call__(self, images):
      brightness = np.asarray(images, float).mean(axis=(1, 2, 3))
      logits = np.zeros((len(brightness), 10), np.float32)
      logits[:, 4] = 25 + brightness / 8
      return {'logits': logits}

  fields = dict(values=[4], num_images=3, format='npz')
  rejection.run(tmp_path, rate=0.2, classifier=Sure(), **fields)
  scores = np.float32(accepted(tmp_path)['scores'])
  assert (np.exp(scores) == 1).all() and (np.diff(scores) < 0).all()
  pool = [turn + 5 * i for turn in range(5) for i in range(3)]
  drawn = generators.labelled_sampler()(KEY, labels=[4] * 15, indices=pool)
  brightness = np.asarray(drawn, float).mean(axis=(1, 2, 3))
  best = np.argsort(-brightness)[:3]
  assert accepted(tmp_path)['indices'] == [pool[i] for i in best]


# job.json, ten chunks of draws, two files of accepted draws, then images.
@pytest.mark.parametrize('name', ['png', 'npz'])
@pytest.mark.parametrize('moment', [3, 8, 20, 21, 22, 23, 24, 25, 26, 29, 32])
def test_a_killed_job_becomes_what_it_would_have_been(
    name, moment, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    kills.dies_at(moment, patch)
    with pytest.raises(kills.Killed):
      rejection.run(tmp_path, format=name)
  again = rejection.Classifier()
  rejection.run(tmp_path, format=name, classifier=again)
  expected = generators.contents(undisturbed(name))
  assert generators.contents(tmp_path) == expected
  assert (len(again.seen) < 10) == (moment > 3)


def test_a_lost_image_is_decoded_again_and_nothing_drawn(tmp_path):
  rejection.run(tmp_path)
  whole = generators.contents(tmp_path)
  (tmp_path / '000004.png').unlink()
  again = rejection.Classifier()
  assert '3 of them decoded' in rejection.run(tmp_path, classifier=again)
  assert generators.contents(tmp_path) == whole
  assert not again.seen


def test_progress_counts_draws_and_the_gain_is_told(tmp_path, capsys):
  sentence = rejection.run(tmp_path)
  out, err = capsys.readouterr()
  assert '28/28' in err and 'draw/s' in err
  assert 'Accepted 7 of 28 draws.' in out
  assert sentence.startswith(f'7 images are in {tmp_path}; decoded at')
