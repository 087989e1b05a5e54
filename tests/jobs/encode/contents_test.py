"""Texts, class names and labels of any source arrive in the cache in order."""

import numpy as np
import pytest

from rq_jax.data import sources
from rq_jax.data.sources import digits
from rq_jax.data.sources import features
from rq_jax.jobs.encode import job as encode
from rq_jax.jobs.encode import verify
from tests import tiny
from tests.jobs import encoding

NAMES = tuple(f'digit {i}' for i in range(10))


class Captioned(digits.Digits):
  """Digits with class names, and a text for each."""

  class_names = NAMES
  has_texts = True

  def text(self, index):
    """The caption of a digit."""
    return f'Number {index}: {"ü" * (index % 4)} {NAMES[self._labels[index]]}'


@pytest.fixture
def captioned(monkeypatch):
  """Lets data sources open digits with captions."""

  def open_source(data, split):
    return Captioned(split, data.image_size)

  monkeypatch.setattr(sources, 'open_source', open_source)


@pytest.mark.usefixtures(
    'captioned', 'small_shards', 'features_of_the_stand_in'
)
def test_texts_labels_and_class_names_are_carried(tmp_path):
  encode.encode(encoding.stand_in(), encoding.data(), str(tmp_path))
  for split in ('train', 'test'):
    source, cached = (
        Captioned(split, tiny.SIZE),
        features.Features(tmp_path, split),
    )
    assert cached.class_names == NAMES
    assert len(cached) == len(source)
    assert all(
        cached.text(i) == source.text(i)
        and cached[i]['label'] == source[i]['label']
        for i in range(len(source))
    )
  assert 'All files of' in verify.verify(str(tmp_path))


@pytest.mark.usefixtures('captioned')
@pytest.mark.process
@pytest.mark.slow
def test_workers_change_no_byte(tmp_path):
  found = []
  for workers in (0, 2):
    out = tmp_path / str(workers)
    data = encoding.data(
        workers=workers, crop='random_resized', flip=True, batch_size=96
    )
    encode.encode(tiny.untrained_tokenizer(), data, str(out), views=2, seed=3)
    found.append(encoding.contents(out))
  assert found[0] == found[1]
  assert len(found[0]) == 2 * 7


@pytest.mark.usefixtures('features_of_the_stand_in')
def test_the_space_is_named_before_anything_is_encoded(tmp_path, capsys):
  encode.encode(encoding.stand_in(), encoding.data(), str(tmp_path))
  row = 2 * int(np.prod(tiny.untrained_tokenizer().model.features_shape)) + 8
  needs = (1797 * row + 6 * 128) / 1000
  first = capsys.readouterr().out.splitlines()[0]
  assert first.startswith(f'The features take {needs:.1f} kB in {tmp_path};')
  assert first.endswith(' are free there.')
