"""Tests of how the classes of samples and of a classifier correspond."""

import json
import types

import numpy as np
import pytest

from rq_jax.evaluation import classifiers
from rq_jax.jobs.evaluate import class_maps


@pytest.fixture(autouse=True)
def _four_classes(monkeypatch):
  described = types.SimpleNamespace(fields={'num_classes': 4})
  monkeypatch.setattr(classifiers, 'describe', lambda path: described)


def samples(labels, num_classes=0, names=None):
  return types.SimpleNamespace(
      labels=None if labels is None else np.asarray(labels, np.int32),
      num_classes=num_classes,
      class_names=names,
  )


@pytest.mark.parametrize('num_classes', [0, 4])
def test_the_same_number_of_classes_needs_no_file(num_classes):
  found = class_maps.find(samples([0, 2], num_classes), 'folder', None)
  assert found == (None, None)


@pytest.mark.parametrize(
    ('labels', 'num_classes', 'words'),
    [
        (None, 0, 'the classes of the samples are not known'),
        (
            [0, 2],
            3,
            'have 3 classes, .* knows 4. Say with --classifier_classes',
        ),
        (
            [0, 6],
            0,
            'have 7 classes, .* knows 4. Say with --classifier_classes',
        ),
    ],
)
def test_classes_that_do_not_fit_are_a_problem(labels, num_classes, words):
  found = class_maps.find(samples(labels, num_classes), 'folder', None)
  assert found.classes is None
  with pytest.raises(ValueError, match=words):
    raise ValueError(found.problem)


def test_a_file_says_which_classes_belong_together(tmp_path):
  file = tmp_path / 'classes.json'
  file.write_text(json.dumps({'cat': [1, 3], 'dog': [0]}))
  found = class_maps.find(
      samples([0, 1], 2, ('cat', 'dog')), 'folder', str(file)
  )
  assert found == (((1, 3), (0,)), None)
  file.write_text(json.dumps({'0': [1], '1': [4]}))
  with pytest.raises(ValueError, match='--classifier_classes'):
    class_maps.find(samples([0, 1]), 'folder', str(file))
