"""Encoding again makes only damaged shards again, with the same bytes."""

import json

import pytest

from rq_jax.data.sources import features
from rq_jax.jobs.encode import job as encode
from rq_jax.jobs.encode import verify
from tests.jobs import encoding

pytestmark = pytest.mark.usefixtures('features_of_the_stand_in')

DAMAGED = 'features-00002-of-00004.npy'


def flip(file):
  content = bytearray(file.read_bytes())
  content[-9] ^= 4
  file.write_bytes(content)


def encode_counting(out, **fields):
  """Encodes; returns the sentence and the number of batches."""
  batches = []
  tokenizer = encoding.stand_in()
  tokenizer.before.extend([lambda: batches.append(1)] * 20)
  data = encoding.data(**fields)
  return encode.encode(tokenizer, data, str(out)), len(batches)


@pytest.fixture
def cache(undisturbed, tmp_path):
  """The folder of a complete cache."""
  return tmp_path / 'undisturbed'


@pytest.mark.parametrize('how', ['flipped', 'cut', 'removed'])
def test_a_damaged_shard_of_a_complete_cache_is_encoded_again(
    how, cache, undisturbed, capsys
):
  file = cache / 'train' / DAMAGED
  if how == 'flipped':
    flip(file)
  elif how == 'cut':
    file.write_bytes(file.read_bytes()[:-1])
  else:
    file.unlink()
  kept = (cache / 'train' / 'features-00001-of-00004.npy').stat().st_ino
  sentence, batches = encode_counting(cache)
  assert batches == 1 and '359 of them encoded' in sentence
  assert encoding.contents(cache) == undisturbed
  other = cache / 'train' / 'features-00001-of-00004.npy'
  assert other.stat().st_ino == kept
  told = f'1 file (train/{DAMAGED}) is damaged' in capsys.readouterr().out
  assert told == (how == 'flipped')
  assert 'All files' in verify.verify(str(cache))


@pytest.mark.parametrize(
    'name',
    ['meta.json', 'shard-00002-of-00004.json', 'label-00002-of-00004.npy'],
)
def test_other_damaged_files_are_made_again(name, cache, undisturbed):
  flip(cache / 'train' / name)
  with pytest.raises(ValueError, match='damaged'):
    features.Features(cache, 'train')
  _, batches = encode_counting(cache)
  assert batches == (name != 'meta.json')
  assert encoding.contents(cache) == undisturbed


def test_an_intact_cache_is_encoded_again_as_a_whole(cache, undisturbed):
  assert encode_counting(cache)[1] == 5
  assert encoding.contents(cache) == undisturbed


def test_other_data_replace_a_damaged_cache(cache):
  flip(cache / 'train' / DAMAGED)
  assert encode_counting(cache, batch_size=200)[1] == 10
  described = json.loads((cache / 'encoded.json').read_text())
  assert described['data']['batch_size'] == 200


def test_an_interrupted_cache_is_compared_before_it_continues(
    small_shards, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  tokenizer = encoding.stand_in(batches=3, then=encoding.fail)
  with pytest.raises(RuntimeError, match='device was lost'):
    encode.encode(tokenizer, encoding.data(), str(out))
  assert encoding.shards_in(out) == ['00000', '00001', '00002']
  flip(out / 'train' / 'label-00001-of-00004.npy')
  assert encode_counting(out)[1] == 3
  assert encoding.contents(out) == undisturbed
