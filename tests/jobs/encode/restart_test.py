"""An interrupted cache is finished by the same job, and by no other."""

import contextlib
import json

import numpy as np
import pytest

from rq_jax import files
from rq_jax.data.sources import features
from rq_jax.jobs import versions
from rq_jax.jobs.encode import job as encode
from tests import tiny
from tests.jobs import encoding

pytestmark = pytest.mark.usefixtures('features_of_the_stand_in')


def failing(out, *, batches):
  """Encodes until a device is lost after a number of batches."""
  tokenizer = encoding.stand_in(batches=batches, then=encoding.fail)
  return encode.encode(tokenizer, encoding.data(), str(out))


def test_what_is_finished_stays_when_encoding_fails(undisturbed, tmp_path):
  out = tmp_path / 'out'
  with pytest.raises(RuntimeError, match='device was lost'):
    failing(out, batches=0)
  assert not encoding.contents(out)
  with pytest.raises(RuntimeError, match='device was lost'):
    failing(out, batches=2)
  assert encoding.shards_in(out) == ['00000', '00001']
  assert not list(out.rglob('*.partial'))
  with pytest.raises(ValueError, match='is unfinished'):
    features.Features(out, 'train')
  sentence = failing(out, batches=3)
  assert '1797 images are in' in sentence
  assert '1078 of them encoded at' in sentence  # Two shards have 719.
  assert encoding.contents(out) == undisturbed


def test_after_a_kill_only_missing_shards_are_encoded(undisturbed, tmp_path):
  out = tmp_path / 'out'
  with pytest.raises(RuntimeError):
    failing(out, batches=3)
  # A kill leaves partial files behind, which an error removes.
  for name in ('features-00003-of-00004', 'label-00000-of-00007'):
    (out / 'train' / f'{name}.npy.partial').write_bytes(b'left')
  (out / 'train' / 'label-00001-of-00004.npy').unlink()
  # Encodes shards 1 and 3 of one split, and the only shard of the other.
  failing(out, batches=3)
  assert encoding.contents(out) == undisturbed


@pytest.fixture
def unfinished(small_shards, tmp_path):
  """The folder of a cache that was interrupted."""
  with pytest.raises(RuntimeError):
    failing(tmp_path, batches=1)
  return tmp_path


def test_what_does_not_move_a_byte_may_change_on_the_way(undisturbed, tmp_path):
  out = tmp_path / 'out'
  with pytest.raises(RuntimeError):
    failing(out, batches=1)
  others = dict(crop='random', flip=True, max_pixels=10**6)
  # The digits are in no folder.
  others |= dict(class_order='alphabetical', exif_rotation=False)
  encode.encode(
      encoding.stand_in(batches=4, then=encoding.fail),
      encoding.data(**others),
      str(out),
  )
  assert encoding.contents(out) == undisturbed


@pytest.mark.parametrize(
    ('fields', 'seed', 'words'),
    [
        (
            dict(batch_size=200),
            0,
            'data.batch_size=400.*data.batch_size=200',
        ),
        ({}, 1, 'tokenizer=".*but this job has tokenizer="'),
    ],
)
def test_an_unfinished_cache_of_something_else_is_refused(
    fields, seed, words, unfinished
):
  before = encoding.contents(unfinished)
  with pytest.raises(ValueError, match=words) as error:
    encode.encode(
        encoding.stand_in(seed=seed), encoding.data(**fields), str(unfinished)
    )
  assert (
      f'choose another --out, or remove {unfinished}/job.json to encode the'
      ' cache again.'
  ) in str(error.value)
  assert encoding.contents(unfinished) == before
  (unfinished / 'job.json').unlink()
  encode.encode(
      encoding.stand_in(seed=seed), encoding.data(**fields), str(unfinished)
  )
  assert len(features.Features(unfinished, 'train')) == 1438


def test_the_manifest_says_what_decides_the_bytes(unfinished):
  found = json.loads((unfinished / 'job.json').read_text())
  data = found.pop('data')
  assert len(found.pop('hash')) == 32
  known = dict(source='digits', path=None, image_size=16, batch_size=400)
  assert data == data | known
  # The center does not depend on them.
  assert not data.keys() & {'crop', 'flip', 'max_pixels', 'workers'}
  assert found == {
      'format_version': 2,
      'views': {'count': 1},
      'tokenizer': tiny.untrained_tokenizer().fingerprint,
      'splits': {
          'train': dict(examples=1438, classes=10, shards=4, files=None),
          'test': dict(examples=359, classes=10, shards=1, files=None),
      },
      'devices': '8 x cpu',
      'versions': versions.of('jax', 'rq_jax'),
  }


def test_an_unfinished_cache_of_version_1_is_not_continued(unfinished):
  """Its shards have no records."""
  file = unfinished / 'job.json'
  described = json.loads(file.read_text())
  for name in ('format_version', 'views', 'hash'):
    del described[name]
  file.write_text(json.dumps(described))
  with pytest.raises(ValueError, match='begun with format_version=null, but'):
    encode.encode(encoding.stand_in(), encoding.data(), str(unfinished))


def test_no_shard_of_an_earlier_cache_is_taken_for_one_of_this(
    undisturbed, tmp_path, monkeypatch
):
  """Not even if the job is killed just before or after it writes job.json."""
  out = tmp_path / 'out'
  encode.encode(encoding.stand_in(seed=1), encoding.data(flip=True), str(out))
  whole = files.whole

  @contextlib.contextmanager
  def mortal(path, **options):
    if path.name == 'job.json' and not killed:
      killed.append(path)
      raise encoding.Killed
    with whole(path, **options) as file:
      yield file

  killed = []
  monkeypatch.setattr(files, 'whole', mortal)
  with pytest.raises(encoding.Killed):
    encode.encode(encoding.stand_in(), encoding.data(), str(out))
  assert not encoding.contents(out)
  encode.encode(encoding.stand_in(), encoding.data(), str(out))
  assert encoding.contents(out) == undisturbed


def test_the_room_for_all_missing_shards_is_checked_first(
    unfinished, monkeypatch
):
  # 1438 of the examples are missing, in four shards, each with three headers.
  row = 2 * int(np.prod(tiny.untrained_tokenizer().model.features_shape)) + 8
  needs = 1438 * row + 4 * 3 * 128
  before = encoding.contents(unfinished)
  monkeypatch.setattr(files, 'free_bytes', lambda _: needs - 1)
  with pytest.raises(files.DiskFullError) as error:
    failing(unfinished, batches=0)
  assert error.value.needs == needs
  assert encoding.contents(unfinished) == before
  monkeypatch.setattr(files, 'free_bytes', lambda _: needs)
  encode.encode(encoding.stand_in(), encoding.data(), str(unfinished))
