"""A killed sampling job is completed with the same bytes by a restart."""

import contextlib
import os
import signal

import pytest

from rq_jax.distributed import interrupts
from rq_jax.jobs.sample import layout
from tests.jobs import generators
from tests.jobs import kills

# Two for each file: job.json, chunks or images and their hashes, archives,
# labels, grid.png, hashes.json.
MOMENTS = [('png', m) for m in range(0, 28, 3)]
MOMENTS += [('shards', m) for m in range(26)]
MOMENTS += [('npz', m) for m in range(20)]


@pytest.mark.parametrize(('name', 'moment'), MOMENTS)
def test_a_killed_job_becomes_what_it_would_have_been(
    name, moment, tmp_path, monkeypatch
):
  generators.run_labels(tmp_path / 'whole', format=name)
  with monkeypatch.context() as patch:
    kills.dies_at(moment, patch)
    with pytest.raises(kills.Killed):
      generators.run_labels(tmp_path / 'killed', format=name)
  generators.run_labels(tmp_path / 'killed', format=name)
  killed, whole = tmp_path / 'killed', tmp_path / 'whole'
  assert generators.contents(killed) == generators.contents(whole)


@pytest.mark.parametrize('finished', [0, 1, 2, 3])
@pytest.mark.parametrize('name', layout.FORMATS)
def test_only_missing_chunks_are_drawn(finished, name, tmp_path, monkeypatch):
  write, written = layout.Files.write, []

  def mortal(self, chunk, images, pool):
    if len(written) == finished:
      raise kills.Killed
    written.append(chunk)
    write(self, chunk, images, pool)

  with monkeypatch.context() as patch:
    patch.setattr(layout.Files, 'write', mortal)
    with contextlib.suppress(kills.Killed):
      generators.run_labels(tmp_path, format=name)
  drawn = generators.counted(monkeypatch)
  sentence = generators.run_labels(tmp_path, format=name)
  assert drawn == [0, 3, 6][finished:]
  last = ['7 images', '4 of them drawn', '1 of them drawn', 'All 7 images']
  assert last[finished] in sentence and str(tmp_path) in sentence


@pytest.mark.parametrize('name', ['shards', 'npz'])
def test_a_kill_while_chunks_are_removed_is_survived(
    name, tmp_path, monkeypatch
):
  generators.run_labels(tmp_path, format=name)
  whole = generators.contents(tmp_path)
  (tmp_path / 'parts').mkdir()
  (tmp_path / 'parts' / '000001.npy').write_bytes(b'left')
  drawn = generators.counted(monkeypatch)
  assert 'already' in generators.run_labels(tmp_path, format=name)
  assert not drawn
  assert generators.contents(tmp_path) == whole


def test_a_signal_while_chunks_are_joined_is_heeded(tmp_path, monkeypatch):
  begin = layout._open_array

  def interrupted(*args):
    os.kill(os.getpid(), signal.SIGTERM)
    return begin(*args)

  with monkeypatch.context() as patch:
    patch.setattr(layout, '_open_array', interrupted)
    with pytest.raises(
        interrupts.Interrupted, match='7 of 7 images are finished'
    ):
      generators.run_labels(tmp_path / 'stopped', format='npz')
  assert not (tmp_path / 'stopped' / 'samples.npz').exists()
  generators.run_labels(tmp_path / 'stopped', format='npz')
  generators.run_labels(tmp_path / 'whole', format='npz')
  stopped, whole = tmp_path / 'stopped', tmp_path / 'whole'
  assert generators.contents(stopped) == generators.contents(whole)


def test_a_lost_shard_is_drawn_again_and_no_other(tmp_path, monkeypatch):
  generators.run_labels(tmp_path, format='shards')
  whole = generators.contents(tmp_path)
  (tmp_path / 'shard-00002-of-00004.npz').unlink()  # Images 4 and 5.
  drawn = generators.counted(monkeypatch)
  generators.run_labels(tmp_path, format='shards')
  assert drawn == [3]
  assert generators.contents(tmp_path) == whole
