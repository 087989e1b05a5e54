"""A sampling job notices damaged files, and makes exactly these again."""

import errno
import json
import os

import numpy as np
import pytest

from rq_jax import hashes
from rq_jax.jobs import file_hashes
from rq_jax.jobs.evaluate import opening
from rq_jax.jobs.sample import layout
from rq_jax.reports import pictures
from tests.jobs import generators
from tests.jobs import kills
from tests.jobs import rejection

FILES = {'png': '000004.png', 'shards': 'shard-00002-of-00004.npz'}
FILES['npz'] = 'samples.npz'


def flip(file):
  """Flips a bit in the middle of a file, or in the values of an array."""
  content = bytearray(file.read_bytes())
  content[-9 if file.suffix == '.npy' else len(content) // 2] ^= 1
  file.write_bytes(content)


@pytest.mark.parametrize('how', ['flipped', 'cut', 'emptied', 'removed'])
@pytest.mark.parametrize('name', layout.FORMATS)
def test_only_damaged_images_are_drawn_again(
    name, how, tmp_path, monkeypatch, capsys
):
  generators.run_labels(tmp_path, format=name)
  whole = generators.contents(tmp_path)
  file = tmp_path / FILES[name]  # Images 4 and 5, or all.
  kept = {
      f: f.stat().st_ino for f in tmp_path.glob('*.*') if f.suffix != '.json'
  }
  del kept[file], kept[tmp_path / 'grid.png']
  if how == 'flipped':
    flip(file)
  elif how == 'removed':
    file.unlink()
  else:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 if how == 'cut' else 0])
  drawn = generators.counted(monkeypatch)
  capsys.readouterr()
  sentence = generators.run_labels(tmp_path, format=name)
  assert drawn == ([0, 3, 6] if name == 'npz' else [3])
  assert 'already' not in sentence
  assert generators.contents(tmp_path) == whole
  assert all(f.stat().st_ino == inode for f, inode in kept.items())
  told = f'1 file ({FILES[name]}) is damaged' in capsys.readouterr().out
  assert told == (how != 'removed')
  drawn.clear()
  assert 'already' in generators.run_labels(tmp_path, format=name)
  assert not drawn


@pytest.mark.parametrize('name', layout.FORMATS)
def test_all_files_may_be_lost_but_the_description(name, tmp_path):
  generators.run_labels(tmp_path, format=name)
  whole = generators.contents(tmp_path)
  for file in tmp_path.iterdir():
    if file.name not in ('job.json', 'hashes.json'):
      file.unlink()
  generators.run_labels(tmp_path, format=name)
  assert generators.contents(tmp_path) == whole


def test_the_grid_of_redrawn_images_has_its_own_hash(tmp_path, monkeypatch):
  generators.run_labels(tmp_path)
  grid = (tmp_path / 'grid.png').read_bytes()
  (tmp_path / '000003.png').unlink()
  # Other devices may round differently.
  make = pictures.grid
  monkeypatch.setattr(pictures, 'grid', lambda *args: 255 - make(*args))
  generators.run_labels(tmp_path)
  assert (tmp_path / 'grid.png').read_bytes() != grid
  file_hashes.require_complete(tmp_path)


def test_an_unreadable_image_is_not_removed(tmp_path, monkeypatch):
  generators.run_labels(tmp_path)
  whole = generators.contents(tmp_path)
  of_file = hashes.of_file

  def fail(path, *args):
    if path.name == '000003.png':
      raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
    return of_file(path, *args)

  monkeypatch.setattr(hashes, 'of_file', fail)
  with pytest.raises(OSError, match=r'000003\.png'):
    generators.run_labels(tmp_path)
  assert generators.contents(tmp_path) == whole


@pytest.mark.parametrize('name', ['grid.png', 'labels.json'])
def test_files_beside_the_images_are_made_again_without_drawing(
    name, tmp_path, monkeypatch
):
  generators.run_labels(tmp_path)
  whole = generators.contents(tmp_path)
  flip(tmp_path / name)
  drawn = generators.counted(monkeypatch)
  generators.run_labels(tmp_path)
  assert not drawn
  assert generators.contents(tmp_path) == whole


@pytest.mark.parametrize('name', layout.FORMATS)
def test_an_interrupted_job_makes_damaged_chunks_again(
    name, tmp_path, monkeypatch
):
  generators.run_labels(tmp_path / 'whole', format=name)
  with monkeypatch.context() as patch:
    # job.json, and two chunks with their hashes.
    kills.dies_at(2 * {'png': 9, 'shards': 5, 'npz': 5}[name], patch)
    with pytest.raises(kills.Killed):
      generators.run_labels(tmp_path / 'x', format=name)
  parts = tmp_path / 'x' / 'parts'
  flip(tmp_path / 'x' / '000000.png' if name == 'png' else parts / '000000.npy')
  flip(parts / '000001.json')
  drawn = generators.counted(monkeypatch)
  generators.run_labels(tmp_path / 'x', format=name)
  assert drawn == [0, 3, 6]
  assert generators.contents(tmp_path / 'x') == generators.contents(
      tmp_path / 'whole'
  )


def test_damaged_hashes_are_an_error_that_says_what_to_do(
    tmp_path, monkeypatch
):
  generators.run_labels(tmp_path)
  whole = generators.contents(tmp_path)
  (tmp_path / 'hashes.json').write_text('{"files": {}, "hash": "0"}')
  with pytest.raises(ValueError, match=r'hashes\.json is damaged.*remove it'):
    generators.run_labels(tmp_path)
  (tmp_path / 'hashes.json').unlink()
  drawn = generators.counted(monkeypatch)
  generators.run_labels(tmp_path)
  assert drawn == [0, 3, 6]
  assert generators.contents(tmp_path) == whole


def test_jobs_of_older_versions_have_no_hashes(tmp_path, monkeypatch):
  generators.run_labels(tmp_path)
  described = json.loads((tmp_path / 'job.json').read_text())
  del described['hash']
  (tmp_path / 'job.json').write_text(json.dumps(described))
  (tmp_path / 'hashes.json').unlink()
  drawn = generators.counted(monkeypatch)
  assert 'already' in generators.run_labels(tmp_path)
  assert len(opening.open_images(str(tmp_path), flag='--samples')) == 7
  (tmp_path / '000003.png').unlink()
  generators.run_labels(tmp_path)
  assert drawn == [3]
  # From now on, damage is noticed.
  flip(tmp_path / '000003.png')
  generators.run_labels(tmp_path)
  assert drawn == [3, 3]


@pytest.mark.parametrize('name', layout.FORMATS)
def test_evaluation_refuses_damaged_and_swapped_images(name, tmp_path):
  generators.run_labels(tmp_path, format=name)
  assert len(opening.open_images(str(tmp_path), flag='--samples')) == 7
  file = tmp_path / FILES[name]
  content = file.read_bytes()
  flip(file)
  with pytest.raises(ValueError, match=rf'\({file.name}\) is damaged or mis'):
    opening.open_images(str(tmp_path), flag='--samples')
  if name != 'npz':
    other = (
        tmp_path
        / {
            'png': '000005.png',
            'shards': 'shard-00001-of-00004.npz',
        }[name]
    )
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(ValueError, match='2 files'):
      opening.open_images(str(tmp_path), flag='--samples')
    other.unlink()
  else:
    file.unlink()
  with pytest.raises(ValueError, match='damaged or missing'):
    opening.open_images(str(tmp_path), flag='--samples')
  (tmp_path / file_hashes.NAME).unlink()
  with pytest.raises(ValueError, match=r'unfinished: it has no hashes\.json'):
    opening.open_images(str(tmp_path), flag='--samples')


def test_evaluation_refuses_a_folder_without_its_description(tmp_path):
  generators.run_labels(tmp_path)
  (tmp_path / 'job.json').unlink()
  with pytest.raises(ValueError, match=r'incomplete: .* no job\.json'):
    opening.open_images(str(tmp_path), flag='--samples')


@pytest.mark.parametrize('name', ['accepted.json', 'accepted_codes.npy'])
def test_damaged_draws_are_chosen_again(name, tmp_path):
  rejection.run(tmp_path, format='npz')
  whole = generators.contents(tmp_path)
  flip(tmp_path / name)
  rejection.run(tmp_path, format='npz')
  assert generators.contents(tmp_path) == whole


def test_a_damaged_chunk_of_draws_is_drawn_again(tmp_path, monkeypatch):
  rejection.run(tmp_path / 'whole', format='npz')
  with monkeypatch.context() as patch:
    kills.dies_at(2 * 7, patch)  # After three chunks with their hashes.
    with pytest.raises(kills.Killed):
      rejection.run(tmp_path / 'x', format='npz')
  draws = tmp_path / 'x' / 'draws'
  sound = np.load(draws / '000001.npy')
  flip(draws / '000001.npy')
  assert (np.load(draws / '000001.npy') != sound).any()
  rejection.run(tmp_path / 'x', format='npz')
  assert generators.contents(tmp_path / 'x') == generators.contents(
      tmp_path / 'whole'
  )
