"""An evaluation of images in files: features, results, restarts."""

import errno
import os
import re

import numpy as np
import pytest

from rq_jax import files
from rq_jax.jobs import manifest
from rq_jax.jobs.evaluate import chunk_files
from rq_jax.jobs.evaluate import job
from tests.jobs import kills
from tests.jobs.evaluate import fakes

pytestmark = pytest.mark.usefixtures('fake_networks')


def test_the_results_are_those_of_all_images(paths, tmp_path):
  found = fakes.evaluate(tmp_path / 'out', *paths)
  result = fakes.by_metric(found)['fid']
  rows = [
      fakes.colours(fakes.images(100))['pool'].astype(np.float64),
      fakes.colours(fakes.images(90, 1))['pool'].astype(np.float64),
  ]
  np.testing.assert_allclose(result['value'], fakes.frechet(*rows), rtol=1e-9)
  low, high = result['interval']
  assert low < result['value'] < high
  assert (result['n'], result['n_reference']) == (100, 90)
  assert result['curve']['n'] == [12, 25, 50, 100]
  logits = fakes.colours(fakes.images(100))['logits'].astype(np.float64)
  order = np.random.RandomState(0).permutation(100)
  scores = []
  for part in np.array_split(logits[order], 10):
    p = np.exp(part) / np.exp(part).sum(axis=1, keepdims=True)
    q = p.mean(axis=0)
    scores.append(np.exp(np.mean(np.sum(p * np.log(p / q), axis=1))))
  score = fakes.by_metric(found)['is']
  np.testing.assert_allclose(score['value'], np.mean(scores), rtol=1e-9)
  np.testing.assert_allclose(score['deviation'], np.std(scores, ddof=1))
  assert 'Evaluate more images' in score['no_interval']
  assert found['left_out']['lpips'] == '--lpips is not given'


def test_a_copy_is_the_nearest_of_all(paths, tmp_path):
  pixels = fakes.images(90, 1)
  pixels[37] = fakes.images(100)[81]
  np.savez(tmp_path / 'with_copy.npz', pixels)
  found = fakes.evaluate(
      tmp_path / 'out', paths[0], str(tmp_path / 'with_copy.npz')
  )
  first, second = found['nearest']['pairs'][:2]
  assert first == {'sample': 81, 'reference': 37, 'distance': 0}
  assert second['distance'] > 0


# Two for each file: job.json, seven chunks, six of the reference, the page, the
# results.
@pytest.mark.parametrize('moment', [0, 1, 4, 13, 21, 28, 29, 30, 31])
def test_a_killed_job_becomes_what_it_would_have_been(
    moment, paths, tmp_path, monkeypatch
):
  fakes.evaluate(tmp_path / 'whole', *paths, intervals=False)
  with monkeypatch.context() as patch:
    kills.dies_at(moment, patch)
    with pytest.raises(kills.Killed):
      fakes.evaluate(tmp_path / 'killed', *paths, intervals=False)
  fakes.evaluate(tmp_path / 'killed', *paths, intervals=False)
  assert fakes.contents(tmp_path / 'killed') == fakes.contents(
      tmp_path / 'whole'
  )


def test_only_missing_chunks_are_computed(paths, tmp_path, monkeypatch):
  whole = fakes.evaluate(tmp_path, *paths)
  chunk_files.path(tmp_path, 2).unlink()
  chunk_files.path(tmp_path, 9).unlink()
  (tmp_path / job.RESULTS).unlink()
  seen = []
  extract = fakes.colours

  def counted(pixels):
    seen.append(len(pixels))
    return extract(pixels)

  monkeypatch.setattr(fakes, 'colours', counted)
  assert fakes.evaluate(tmp_path, *paths) == whole
  assert seen == [16, 16]


def test_other_metrics_of_the_same_features_are_added(paths, tmp_path):
  first = fakes.evaluate(tmp_path, *paths)
  again = fakes.evaluate(tmp_path, *paths, intervals=False)
  values = [fakes.by_metric(found)['fid']['value'] for found in (first, again)]
  assert values[0] == values[1]
  assert fakes.by_metric(again)['fid']['interval'] is None


def test_a_folder_of_other_images_is_refused(paths, tmp_path):
  fakes.evaluate(tmp_path / 'out', *paths)
  other = fakes.write(tmp_path / 'other.npz', 100, seed=2)
  with pytest.raises(ValueError, match='samples.crc32.*Choose another --out'):
    fakes.evaluate(tmp_path / 'out', other, paths[1])


def test_a_folder_with_results_of_something_else_is_refused(paths, tmp_path):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'report.html').write_text('mine')
  with pytest.raises(ValueError, match='report.html, but no job.json'):
    fakes.evaluate(tmp_path / 'out', *paths)
  assert not (tmp_path / 'out' / manifest.NAME).exists()


def test_only_a_damaged_chunk_is_made_again(
    paths, tmp_path, monkeypatch, capsys
):
  whole = fakes.evaluate(tmp_path, *paths), fakes.contents(tmp_path)
  file = chunk_files.path(tmp_path, 3)
  arrays = chunk_files.read(file)
  arrays[f'{fakes.NETWORK}/pool'] = arrays[f'{fakes.NETWORK}/pool'] + 1
  comment = file.read_bytes()[-64:]
  chunk_files.write(file, arrays)
  file.write_bytes(file.read_bytes()[:-64] + comment)
  computed, colours = [], fakes.colours
  monkeypatch.setattr(
      fakes, 'colours', lambda x: computed.append(len(x)) or colours(x)
  )
  assert (fakes.evaluate(tmp_path, *paths), fakes.contents(tmp_path)) == whole
  assert computed == [16]
  assert '1 file (features/000003.npz) is damaged' in capsys.readouterr().out


def test_features_that_cannot_be_read_are_not_removed(
    paths, tmp_path, monkeypatch
):
  fakes.evaluate(tmp_path, *paths)
  there = chunk_files.finished(tmp_path)

  def fail(file):
    raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))

  monkeypatch.setattr(chunk_files, 'read', fail)
  with pytest.raises(OSError, match=r'features/00000\d\.npz'):
    fakes.evaluate(tmp_path, *paths)
  assert chunk_files.finished(tmp_path) == there


def test_swapped_chunks_are_made_again(paths, tmp_path):
  whole = fakes.evaluate(tmp_path, *paths), fakes.contents(tmp_path)
  first, second = (chunk_files.path(tmp_path, chunk) for chunk in (0, 1))
  kept = first.read_bytes()
  first.write_bytes(second.read_bytes())
  second.write_bytes(kept)
  with pytest.raises(ValueError, match='000001.npz is damaged.*Remove it'):
    chunk_files.read(second)
  assert (fakes.evaluate(tmp_path, *paths), fakes.contents(tmp_path)) == whole


def test_a_chunk_of_an_older_version_is_read(paths, tmp_path, monkeypatch):
  """Its hash does not cover the name of the file."""
  monkeypatch.setattr(
      chunk_files, '_comment', lambda _, arrays: chunk_files._digest(arrays)
  )
  whole = fakes.evaluate(tmp_path, *paths)
  monkeypatch.undo()
  with fakes.networks_replaced(monkeypatch):
    monkeypatch.setattr(fakes, 'colours', None)  # Nothing is computed again.
    assert fakes.evaluate(tmp_path, *paths) == whole


@pytest.mark.parametrize('name', [job.RESULTS, job.PAGE])
def test_damaged_results_are_computed_again(name, paths, tmp_path):
  whole = fakes.evaluate(tmp_path, *paths), fakes.contents(tmp_path)
  content = bytearray((tmp_path / name).read_bytes())
  position = content.index(b'fid') + 1
  content[position] ^= 1
  (tmp_path / name).write_bytes(content)
  assert (fakes.evaluate(tmp_path, *paths), fakes.contents(tmp_path)) == whole


def test_the_space_for_all_features_is_checked_first(
    paths, tmp_path, monkeypatch
):
  monkeypatch.setattr(files, 'free_bytes', lambda _: 100)
  # 100 samples with 3 + 6 numbers and 90 images with 3, of 4 bytes.
  with pytest.raises(files.DiskFullError, match=re.escape('4.7 kB are needed')):
    fakes.evaluate(tmp_path / 'out', *paths)
  assert not (tmp_path / 'out' / 'features').exists()


def test_features_that_are_not_finite_are_an_error(
    paths, tmp_path, monkeypatch
):
  extract, calls = fakes.colours, iter([1, np.nan])

  def colours(pixels):
    return extract(pixels) | {'pool': extract(pixels)['pool'] * next(calls)}

  monkeypatch.setattr(fakes, 'colours', colours)
  with pytest.raises(ValueError, match='pool of image 16 hold NaN'):
    fakes.evaluate(tmp_path, *paths)
  assert chunk_files.finished(tmp_path) == {0}
