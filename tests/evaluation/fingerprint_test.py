"""Fingerprints of results: what changes their hash, and what does not."""

import dataclasses
import json

import numpy as np
import pytest

from rq_jax.evaluation import dialects
from rq_jax.evaluation import fingerprint
from rq_jax.evaluation import references
from rq_jax.jobs import versions

EXTRACTOR = {
    'network': 'inception',
    'weights': 'abcd',
    'resize': 'bilinear_half_pixel to 299x299',
}
REFERENCE = references.Reference(
    mean=np.zeros(2),
    covariance=np.eye(2),
    count=5,
    description={'file': 'x.npz', 'sha256': '12' * 32, 'known': None},
)


def described(metric='fid', dialect='rq', **changes):
  """The fingerprint of a result, with some values changed."""
  values = {
      'count': 1000,
      'extractors': {'inception': EXTRACTOR},
      'reference': REFERENCE,
      'versions': versions.of(*fingerprint.PROGRAMS),
      'settings': {'intervals': 0.95},
      'images': {'model': 'ef01', 'sampling': {'top_k': 250, 'p': 1.0}},
  }
  return fingerprint.describe(
      metric, dialects.DIALECTS[dialect], **(values | changes)
  )


def test_equal_results_have_equal_fingerprints():
  first = described()
  assert first == described()
  assert json.loads(json.dumps(first)) == first
  assert len(first['hash']) == 12
  assert set(first['versions']) == {'rq_jax', 'jax', 'numpy', 'pillow'}


@pytest.mark.parametrize(
    'changes',
    [
        {'metric': 'is'},
        {'dialect': 'pytorch-fid'},
        {'count': 1001},
        {'extractors': {'inception': EXTRACTOR | {'weights': 'abce'}}},
        {'reference': None},
        {'settings': {'intervals': 0.9}},
        {'images': {'model': 'ef01', 'sampling': {'top_k': 251, 'p': 1.0}}},
    ],
)
def test_whatever_decides_the_value_changes_the_hash(changes):
  assert described(**changes)['hash'] != described()['hash']


def test_names_of_files_and_versions_do_not_change_the_hash():
  moved = dataclasses.replace(
      REFERENCE, description=REFERENCE.description | {'file': 'y.npz'}
  )
  newer = versions.of(*fingerprint.PROGRAMS) | {'jax': '99'}
  changed = described(reference=moved, versions=newer)
  assert changed['hash'] == described()['hash']
  assert changed['versions']['jax'] == '99'


def test_numbers_of_numpy_count_as_numbers():
  ours = {'k': 3, 'scale': 0.5, 'sizes': [1, 2]}
  numpys = {'k': np.int64(3), 'scale': np.float32(0.5), 'sizes': (1, 2)}
  first, other = (described(settings=s) for s in (ours, numpys))
  assert first == other


@pytest.mark.parametrize('value', [float('nan'), b'bytes', np.zeros(2)])
def test_values_that_json_lacks_are_refused_with_their_place(value):
  with pytest.raises(ValueError, match=r'fingerprint\.settings\.x\[1\] is'):
    described(settings={'x': [0, value]})


def test_a_line_for_people_names_what_matters():
  line = fingerprint.line(described())
  assert line.startswith(f'{described()["hash"]}: fid of 1000 images')
  for part in ('dialect rq', 'inception abcd', '299x299', 'reference 1212'):
    assert part in line
