"""Encoding: shards that appear whole, in order, and once each."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import signal

import jax
import numpy as np
import pytest

from rq_jax import files
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.data.feature_cache import layout
from rq_jax.data.sources import digits
from rq_jax.data.sources import features
from rq_jax.data.sources import splits
from rq_jax.distributed import interrupts
from rq_jax.distributed import locks
from rq_jax.distributed import processes
from rq_jax.jobs import encode
from rq_jax.jobs import versions
from tests import tiny

SHARD_ROWS = 400  # Splits of 1438 and 359 examples have 4 + 1 shards.


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandIn(tokenizer_lib.Tokenizer):
  """Features are the mean of all pixels; calls `before` before each batch."""

  before: list = dataclasses.field(default_factory=list)

  def features(self, images):
    """All features are the mean of their image."""
    if self.before:
      self.before.pop(0)()
    means = np.asarray(images).mean(axis=(1, 2, 3), keepdims=True)
    return np.broadcast_to(means, (len(images), *self.model.features_shape))


class Killed(BaseException):
  """Ends a job like SIGKILL: nothing handles this exception."""


def stand_in(*, seed=0, batches=None, then=None):
  """A tokenizer that calls `then` after a number of batches."""
  whole = tiny.untrained_tokenizer(seed)
  fields = {f.name: vars(whole)[f.name] for f in dataclasses.fields(whole)}
  calls = [] if then is None else [*[lambda: None] * batches, then]
  return StandIn(**fields, before=calls)


def fail():
  raise RuntimeError('A device was lost.')


def stop():
  os.kill(os.getpid(), signal.SIGTERM)


def data(**fields):
  return tiny.stage1_config(data=dict(batch_size=400) | fields).data


def contents(folder):
  """Bytes of all files below a folder, by name; without the lock."""
  return {
      str(file.relative_to(folder)): file.read_bytes()
      for file in folder.rglob('*')
      if file.is_file() and file.name != '.lock'
  }


def shards_in(folder):
  return sorted(file.name[9:14] for file in folder.glob('train/feat*.npy'))


@pytest.fixture(autouse=True)
def features_of_the_stand_in(monkeypatch):
  """Encoding skips the checks of `Tokenizer.features`, but not a stand-in."""
  monkeypatch.setattr(
      tokenizer_lib, 'features_known', lambda t, images: t.features(images)
  )


@pytest.fixture
def small_shards(monkeypatch):
  """Shards of a few hundred examples."""
  row = 2 * np.prod(tiny.untrained_tokenizer().model.features_shape)
  monkeypatch.setattr(layout, 'SHARD_BYTES', SHARD_ROWS * row)


@pytest.fixture
def undisturbed(small_shards, tmp_path):
  """The files of a cache that was encoded without interruption."""
  encode.encode(stand_in(), data(), str(tmp_path / 'undisturbed'))
  return contents(tmp_path / 'undisturbed')


def test_shards_hold_all_examples_in_order(undisturbed, tmp_path):
  assert sorted(undisturbed) == [
      'test/features-00000-of-00001.npy',
      'test/label-00000-of-00001.npy',
      'test/meta.json',
      *[f'train/features-0000{s}-of-00004.npy' for s in range(4)],
      *[f'train/label-0000{s}-of-00004.npy' for s in range(4)],
      'train/meta.json',
  ]
  for split in splits.SPLITS:
    source = features.Features(tmp_path / 'undisturbed', split)
    assert source.num_classes == 10
    expected = digits.Digits(split, tiny.SIZE)
    assert len(source) == len(expected)
    for i in (0, 358, len(expected) - 1):
      assert source[i]['label'] == expected[i]['label']
      mean = expected[i]['image'].mean() / 127.5 - 1
      np.testing.assert_allclose(source[i]['features'], mean, atol=1e-3)


def test_a_small_split_is_one_shard(tmp_path):
  sentence = encode.encode(stand_in(), data(), str(tmp_path))
  assert shards_in(tmp_path) == ['00000']
  assert f'1797 images are in {tmp_path}; encoded at' in sentence
  assert not (tmp_path / 'job.json').exists()


def test_what_is_finished_stays_when_encoding_fails(undisturbed, tmp_path):
  out = tmp_path / 'out'
  with pytest.raises(RuntimeError, match='device was lost'):
    encode.encode(stand_in(batches=0, then=fail), data(), str(out))
  assert not contents(out)
  with pytest.raises(RuntimeError, match='device was lost'):
    encode.encode(stand_in(batches=2, then=fail), data(), str(out))
  assert shards_in(out) == ['00000', '00001']
  assert not list(out.rglob('*.partial'))
  with pytest.raises(ValueError, match='is unfinished'):
    features.Features(out, 'train')
  sentence = encode.encode(stand_in(batches=3, then=fail), data(), str(out))
  assert '1797 images are in' in sentence
  assert '1078 of them encoded at' in sentence  # Two shards have 719.
  assert contents(out) == undisturbed


@pytest.mark.parametrize(('batches', 'whole'), [(1, 1), (2, 1), (3, 2)])
def test_a_signal_stops_after_the_batch_under_way_resumably(
    batches, whole, undisturbed, tmp_path
):
  """Each full shard has two batches, so two stops fall inside a shard."""
  out = tmp_path / 'out'
  small = data(batch_size=200)
  with pytest.raises(interrupts.Interrupted) as error:
    encode.encode(stand_in(batches=batches, then=stop), small, str(out))
  assert f'{[0, 359, 719][whole]} of 1797 images are finished in {out}' in str(
      error.value
  )
  assert shards_in(out) == ['00000', '00001'][:whole]
  assert not list(out.rglob('*.partial'))
  encode.encode(stand_in(), small, str(out))
  assert contents(out) == undisturbed


def test_a_signal_in_the_first_shard_leaves_nothing(small_shards, tmp_path):
  with pytest.raises(interrupts.Interrupted, match='0 of 1797'):
    encode.encode(
        stand_in(batches=0, then=stop), data(batch_size=50), str(tmp_path)
    )
  assert not contents(tmp_path)


def test_after_a_kill_only_missing_shards_are_encoded(undisturbed, tmp_path):
  out = tmp_path / 'out'
  with pytest.raises(RuntimeError):
    encode.encode(stand_in(batches=3, then=fail), data(), str(out))
  # A kill leaves partial files behind, which an error removes.
  for name in ('features-00003-of-00004', 'label-00000-of-00007'):
    (out / 'train' / f'{name}.npy.partial').write_bytes(b'left')
  (out / 'train' / 'label-00001-of-00004.npy').unlink()
  # Encodes shards 1 and 3 of one split, and the only shard of the other.
  encode.encode(stand_in(batches=3, then=fail), data(), str(out))
  assert contents(out) == undisturbed


def test_only_the_first_batch_says_that_it_compiles(
    small_shards, tmp_path, capsys
):
  encode.encode(stand_in(), data(), str(tmp_path))
  first, second = capsys.readouterr().out.splitlines()
  assert first == 'Compiling the encoder (once per shape) ...'
  assert re.fullmatch(r'Compiled in \d+\.\d s\.', second)


def test_compiled_programs_are_kept_before_anything_is_read(
    tmp_path, monkeypatch
):
  kept = []
  monkeypatch.setattr(encode.compilation, 'keep', lambda: kept.append(None))
  with pytest.raises(ValueError, match='holds no config.json'):
    encode.run(str(tmp_path), data(), str(tmp_path / 'out'))
  assert kept == [None]


def test_each_process_encodes_every_other_shard(
    undisturbed, tmp_path, monkeypatch
):
  out = tmp_path / 'out'
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(processes, 'wait_for_all', lambda _: None)
  monkeypatch.setattr(processes, 'only_first', lambda act: act())

  def encode_as(index):
    monkeypatch.setattr(jax, 'process_index', lambda: index)
    encode.encode(stand_in(), data(), str(out))

  # The shards are train/0, 1, 2, 3 and test/0, in this order.
  with pytest.raises(interrupts.Interrupted, match='720 of 1797 images'):
    encode_as(1)
  assert shards_in(out) == ['00001', '00003']
  assert not list(out.glob('test/features*.npy'))
  for name in ('features', 'label'):
    for shard in (1, 3):
      file = f'train/{name}-0000{shard}-of-00004.npy'
      assert (out / file).read_bytes() == undisturbed[file]
  encode_as(0)
  assert contents(out) == undisturbed


@pytest.fixture
def unfinished(small_shards, tmp_path):
  """The folder of a cache that was interrupted."""
  with pytest.raises(RuntimeError):
    encode.encode(stand_in(batches=1, then=fail), data(), str(tmp_path))
  return tmp_path


def test_what_does_not_move_a_byte_may_change_on_the_way(undisturbed, tmp_path):
  out = tmp_path / 'out'
  with pytest.raises(RuntimeError):
    encode.encode(stand_in(batches=1, then=fail), data(), str(out))
  others = dict(crop='random', flip=True, max_pixels=10**6, workers=1)
  encode.encode(stand_in(batches=4, then=fail), data(**others), str(out))
  assert contents(out) == undisturbed


@pytest.mark.parametrize(
    ('fields', 'seed', 'words'),
    [
        (dict(batch_size=200), 0, 'data.batch_size=400.*data.batch_size=200'),
        ({}, 1, 'tokenizer=".*but this job has tokenizer="'),
    ],
)
def test_an_unfinished_cache_of_something_else_is_refused(
    fields, seed, words, unfinished
):
  before = contents(unfinished)
  with pytest.raises(ValueError, match=words) as error:
    encode.encode(stand_in(seed=seed), data(**fields), str(unfinished))
  assert (
      f'choose another --out, or remove {unfinished}/job.json to encode the'
      ' cache again.'
  ) in str(error.value)
  assert contents(unfinished) == before
  (unfinished / 'job.json').unlink()
  encode.encode(stand_in(seed=seed), data(**fields), str(unfinished))
  assert len(features.Features(unfinished, 'train')) == 1438


def test_the_manifest_says_what_decides_the_bytes(unfinished):
  found = json.loads((unfinished / 'job.json').read_text())
  assert found == {
      'data': {
          'source': 'digits',
          'path': None,
          'image_size': 16,
          'batch_size': 400,
      },
      'tokenizer': tiny.untrained_tokenizer().fingerprint,
      'splits': {
          'train': dict(examples=1438, classes=10, shards=4, files=None),
          'test': dict(examples=359, classes=10, shards=1, files=None),
      },
      'devices': '8 x cpu',
      'versions': versions.of('jax', 'rq_jax'),
  }


def test_no_shard_of_an_earlier_cache_is_taken_for_one_of_this(
    undisturbed, tmp_path, monkeypatch
):
  """Not even if the job is killed just before or after it writes job.json."""
  out = tmp_path / 'out'
  encode.encode(stand_in(seed=1), data(flip=True), str(out))
  whole = files.whole

  @contextlib.contextmanager
  def mortal(path, **options):
    if path.name == 'job.json' and not killed:
      killed.append(path)
      raise Killed
    with whole(path, **options) as file:
      yield file

  killed = []
  monkeypatch.setattr(files, 'whole', mortal)
  with pytest.raises(Killed):
    encode.encode(stand_in(), data(), str(out))
  assert not contents(out)
  encode.encode(stand_in(), data(), str(out))
  assert contents(out) == undisturbed


def test_no_room_for_the_last_split_shows_before_the_first_is_encoded(
    tmp_path, monkeypatch
):
  reserve = os.posix_fallocate

  def full(number, start, size):
    if '/cache/test/' in os.readlink(f'/proc/self/fd/{number}'):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    reserve(number, start, size)

  monkeypatch.setattr(os, 'posix_fallocate', full)
  cache = tmp_path / 'cache'
  with pytest.raises(files.DiskFullError, match='test is full.* are needed'):
    encode.encode(stand_in(batches=0, then=fail), data(), str(cache))
  assert not contents(cache)


def test_the_room_for_all_missing_shards_is_checked_first(
    unfinished, monkeypatch
):
  # 1438 of the examples are missing, in four shards, each with two headers.
  row = 2 * int(np.prod(tiny.untrained_tokenizer().model.features_shape)) + 4
  needs = 1438 * row + 4 * 2 * 128
  before = contents(unfinished)
  monkeypatch.setattr(files, 'free_bytes', lambda _: needs - 1)
  with pytest.raises(files.DiskFullError) as error:
    encode.encode(stand_in(batches=0, then=fail), data(), str(unfinished))
  assert error.value.needs == needs
  assert contents(unfinished) == before
  monkeypatch.setattr(files, 'free_bytes', lambda _: needs)
  encode.encode(stand_in(), data(), str(unfinished))


def test_a_folder_that_another_program_holds_is_refused(tmp_path):
  with (
      locks.hold(tmp_path, flag='--out'),
      pytest.raises(ValueError, match='--out=.* is in use'),
  ):
    encode.encode(stand_in(batches=0, then=fail), data(), str(tmp_path))
  assert not list(tmp_path.glob('t*'))
