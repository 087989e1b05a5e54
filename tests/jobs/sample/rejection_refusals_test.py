"""Rejection jobs that are refused, and what job.json keeps of others."""

import json
import math

import numpy as np
import pytest

from rq_jax import files as files_lib
from tests.jobs import generators
from tests.jobs import rejection


def test_logits_that_are_no_numbers_end_the_job(tmp_path):
  class Broken(rejection.Classifier):

    def __call__(self, images):
      return {'logits': np.full((len(images), 10), np.nan, np.float32)}

  with pytest.raises(ValueError, match='--classifier=classifier returned numb'):
    rejection.run(tmp_path, classifier=Broken())


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        (generators.NOTHING, 'this model is unconditional. Leave out --accept'),
        (generators.TEXTS, 'this model draws from texts. Leave out --accept'),
    ],
)
def test_models_without_classes_are_refused(model, words, tmp_path):
  made = generators.sampler(**model)
  fields = dict(kind=None, values=None)
  if model is generators.TEXTS:
    fields = dict(kind='tokens', values=np.array([[1, 2, 3]]))
  with pytest.raises(ValueError, match=words):
    rejection.run(tmp_path / 'out', sampler=made, **fields)
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('rate', [0, -0.1, 1.5, math.nan])
def test_a_rate_that_is_none_is_refused(rate, tmp_path):
  with pytest.raises(ValueError, match=r'--accept=.* must be in \(0, 1\]'):
    rejection.run(tmp_path / 'out', rate=rate)
  assert not (tmp_path / 'out').exists()


def test_a_classifier_of_other_classes_needs_a_map(tmp_path):
  other = rejection.Classifier()
  other.num_classes = 1000
  with pytest.raises(ValueError, match='has 1000 classes, but this model has'):
    rejection.run(tmp_path / 'out', classifier=other)
  assert not (tmp_path / 'out').exists()


def test_more_draws_than_a_seed_has_are_refused(tmp_path):
  with pytest.raises(ValueError, match='but a seed has 4294967296'):
    rejection.run(tmp_path / 'out', rate=1e-9)


def test_a_full_disk_is_noticed_before_anything_is_drawn(tmp_path, monkeypatch):
  asked, classifier = [], rejection.Classifier()

  def full(folder, needs):
    asked.append(needs)
    raise files_lib.DiskFullError(folder, needs)

  monkeypatch.setattr(files_lib, 'require_space', full)
  with pytest.raises(files_lib.DiskFullError):
    rejection.run(tmp_path, format='npz', classifier=classifier)
  # 28 draws and 7 accepted ones of 8 codes; images as chunks and in the end.
  assert asked == [(28 + 7) * (4 + 8 * 2) + 2 * 7 * 16 * 16 * 3]
  assert not classifier.seen


def test_the_manifest_describes_the_choice(tmp_path):
  rejection.run(tmp_path)
  manifest = json.loads((tmp_path / 'job.json').read_text())
  assert manifest['rejection'] == {
      'accept': 0.25,
      'classifier': 'classifier',
      'classifier_fingerprint': '0123456789abcdef',
      'classifier_classes': None,
  }


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (dict(rate=0.5), 'rejection.accept=0.25, but this job has .*=0.5'),
        (dict(classes=((0,),) * 10), 'rejection.classifier_classes=null'),
    ],
)
def test_another_choice_is_refused_in_the_same_folder(fields, words, tmp_path):
  rejection.run(tmp_path)
  with pytest.raises(ValueError, match=words):
    rejection.run(tmp_path, **fields)
  other = rejection.Classifier()
  other.fingerprint = 'f' * 16
  with pytest.raises(ValueError, match='classifier_fingerprint="0123'):
    rejection.run(tmp_path, classifier=other)
  with pytest.raises(ValueError, match='rejection.*but this job has .*=null'):
    generators.run_labels(tmp_path)
