"""Encoding: shards that appear whole, in order, and once each."""

import errno
import os
import re

import jax
import numpy as np
import pytest

from rq_jax import files
from rq_jax.data.sources import digits
from rq_jax.data.sources import features
from rq_jax.data.sources import splits
from rq_jax.distributed import interrupts
from rq_jax.distributed import locks
from rq_jax.distributed import processes
from rq_jax.jobs.encode import job as encode
from tests import tiny
from tests.jobs import encoding

pytestmark = pytest.mark.usefixtures('features_of_the_stand_in')


def test_shards_hold_all_examples_in_order(undisturbed, tmp_path):
  assert sorted(undisturbed) == [
      'test/checksum-00000-of-00001.npy',
      'test/features-00000-of-00001.npy',
      'test/label-00000-of-00001.npy',
      'test/meta.json',
      'test/shard-00000-of-00001.json',
      *[f'train/checksum-0000{s}-of-00004.npy' for s in range(4)],
      *[f'train/features-0000{s}-of-00004.npy' for s in range(4)],
      *[f'train/label-0000{s}-of-00004.npy' for s in range(4)],
      'train/meta.json',
      *[f'train/shard-0000{s}-of-00004.json' for s in range(4)],
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
  sentence = encode.encode(encoding.stand_in(), encoding.data(), str(tmp_path))
  assert encoding.shards_in(tmp_path) == ['00000']
  assert f'1797 images are in {tmp_path}; encoded at' in sentence
  assert not (tmp_path / 'job.json').exists()


@pytest.mark.parametrize(('batches', 'whole'), [(1, 1), (2, 1), (3, 2)])
def test_a_signal_stops_after_the_batch_under_way_resumably(
    batches, whole, undisturbed, tmp_path
):
  """Each full shard has two batches, so two stops fall inside a shard."""
  out = tmp_path / 'out'
  small = encoding.data(batch_size=200)
  with pytest.raises(interrupts.Interrupted) as error:
    encode.encode(
        encoding.stand_in(batches=batches, then=encoding.stop), small, str(out)
    )
  assert f'{[0, 359, 719][whole]} of 1797 images are finished in {out}' in str(
      error.value
  )
  assert encoding.shards_in(out) == ['00000', '00001'][:whole]
  assert not list(out.rglob('*.partial'))
  encode.encode(encoding.stand_in(), small, str(out))
  assert encoding.contents(out) == undisturbed


def test_a_signal_in_the_first_shard_leaves_nothing(small_shards, tmp_path):
  with pytest.raises(interrupts.Interrupted, match='0 of 1797'):
    encode.encode(
        encoding.stand_in(batches=0, then=encoding.stop),
        encoding.data(batch_size=50),
        str(tmp_path),
    )
  assert not encoding.contents(tmp_path)


def test_only_the_first_batch_says_that_it_compiles(
    small_shards, tmp_path, capsys
):
  encode.encode(encoding.stand_in(), encoding.data(), str(tmp_path))
  _, first, second = capsys.readouterr().out.splitlines()
  assert first == 'Compiling the encoder (once per shape) ...'
  assert re.fullmatch(r'Compiled in \d+\.\d s\.', second)


def test_compiled_programs_are_kept_before_anything_is_read(
    tmp_path, monkeypatch
):
  kept = []
  monkeypatch.setattr(encode.compilation, 'keep', lambda: kept.append(None))
  with pytest.raises(ValueError, match='holds no config.json'):
    encode.run(str(tmp_path), encoding.data(), str(tmp_path / 'out'))
  assert kept == [None]


def test_each_process_encodes_every_other_shard(
    undisturbed, tmp_path, monkeypatch
):
  out = tmp_path / 'out'
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(processes, 'wait_for_all', lambda _: None)
  for name in ('only_first', 'together'):
    monkeypatch.setattr(processes, name, lambda act: act())

  def encode_as(index):
    monkeypatch.setattr(jax, 'process_index', lambda: index)
    encode.encode(encoding.stand_in(), encoding.data(), str(out))

  # The shards are train/0, 1, 2, 3 and test/0, in this order.
  with pytest.raises(interrupts.Interrupted, match='720 of 1797 images'):
    encode_as(1)
  assert encoding.shards_in(out) == ['00001', '00003']
  assert not list(out.glob('test/features*.npy'))
  for name in ('features', 'label'):
    for shard in (1, 3):
      file = f'train/{name}-0000{shard}-of-00004.npy'
      assert (out / file).read_bytes() == undisturbed[file]
  encode_as(0)
  assert encoding.contents(out) == undisturbed


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
    encode.encode(
        encoding.stand_in(batches=0, then=encoding.fail),
        encoding.data(),
        str(cache),
    )
  assert not encoding.contents(cache)


def test_a_folder_that_another_program_holds_is_refused(tmp_path):
  with (
      locks.hold(tmp_path, flag='--out'),
      pytest.raises(ValueError, match='--out=.* is in use'),
  ):
    encode.encode(
        encoding.stand_in(batches=0, then=encoding.fail),
        encoding.data(),
        str(tmp_path),
    )
  assert not list(tmp_path.glob('t*'))
