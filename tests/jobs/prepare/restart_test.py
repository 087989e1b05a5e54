"""An interrupted job is finished by the next start, with the same bytes."""

import pytest

from rq_jax.data import image_files
from rq_jax.data.prepared import shards
from rq_jax.jobs.prepare import ledger
from tests.jobs.prepare import folders


@pytest.fixture
def undisturbed(images, tmp_path):
  """The files of a job that ran without interruption."""
  folders.prepare(images, tmp_path / 'undisturbed')
  return folders.contents(tmp_path / 'undisturbed')


@pytest.mark.parametrize('workers', [1, 5])
def test_threads_do_not_change_the_files(
    images, undisturbed, tmp_path, workers
):
  folders.prepare(images, tmp_path / 'out', workers=workers)
  assert folders.contents(tmp_path / 'out') == undisturbed


@pytest.mark.parametrize('number', range(9))
def test_a_crash_at_any_step_leaves_a_job_that_can_be_finished(
    images, undisturbed, tmp_path, monkeypatch, number
):
  """Four shards are renamed and recorded; then, descriptions are written."""
  left = [number]

  def crashing(module, name):
    function = getattr(module, name)

    def call(*arguments):
      if not left[0]:
        raise KeyboardInterrupt
      left[0] -= 1
      return function(*arguments)

    monkeypatch.setattr(module, name, call)

  crashing(shards.Writer, 'close')
  crashing(ledger, 'record')
  crashing(ledger, 'write_refused')
  with pytest.raises(KeyboardInterrupt):
    folders.prepare(images, tmp_path / 'out')
  monkeypatch.undo()
  monkeypatch.setattr(shards, 'SHARD_BYTES', folders.SHARD_BYTES)
  folders.prepare(images, tmp_path / 'out')
  assert folders.contents(tmp_path / 'out') == undisturbed


def test_unfinished_work_with_refused_images_is_not_taken_without_skip(
    images, tmp_path, monkeypatch
):
  (images / 'dog' / '03.jpg').write_bytes(b'no image')
  with monkeypatch.context() as patch:
    patch.setattr(ledger, 'write_refused', None)  # All shards are finished.
    with pytest.raises(TypeError):
      folders.prepare(images, tmp_path / 'out', skip=True)
  with pytest.raises(image_files.BrokenImageError, match='dog/03.jpg'):
    folders.prepare(images, tmp_path / 'out')


def test_a_complete_dataset_is_left_as_it_is(images, tmp_path):
  out = tmp_path / 'out'
  folders.prepare(images, out)
  before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
  sentence = folders.prepare(images, out)
  assert sentence == f'All 40 images were in {out} already.'
  after = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
  before.pop('.lock'), after.pop('.lock')
  assert before == after


@pytest.mark.parametrize('left', [None, 100])
def test_a_lost_or_cut_shard_is_made_again(images, undisturbed, tmp_path, left):
  out = tmp_path / 'out'
  folders.prepare(images, out)
  lost = sorted(out.glob('*.array_record-*'))[1]
  if left is None:
    lost.unlink()
  else:
    lost.write_bytes(lost.read_bytes()[:left])
  folders.prepare(images, out)
  assert folders.contents(out) == undisturbed


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(resize=16), 'begun with resize=null, but this job has resize=16'),
        (dict(max_pixels=10**6), 'begun with max_pixels=80000000, but'),
    ],
)
def test_another_job_in_the_folder_is_refused(images, tmp_path, options, words):
  folders.prepare(images, tmp_path / 'out')
  with pytest.raises(ValueError, match=words):
    folders.prepare(images, tmp_path / 'out', **options)


def test_other_images_in_the_folder_are_refused(images, tmp_path):
  folders.prepare(images, tmp_path / 'out')
  first = next((images / 'cat').iterdir())
  first.rename(first.with_stem('renamed'))
  with pytest.raises(ValueError, match='begun with splits.train.listing='):
    folders.prepare(images, tmp_path / 'out')


def test_the_folder_of_the_images_may_move(images, undisturbed, tmp_path):
  moved = images.rename(tmp_path / 'moved')
  sentence = folders.prepare(moved, tmp_path / 'undisturbed')
  assert sentence.startswith('All 40 images were')


def test_a_damaged_file_is_found_when_it_is_read_back(
    images, tmp_path, monkeypatch
):
  read_back = shards._read_back

  def damage(path):
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    return read_back(path)

  monkeypatch.setattr(shards, '_read_back', damage)
  with pytest.raises(OSError, match='read back'):
    folders.prepare(images, tmp_path / 'out')
  assert not list((tmp_path / 'out').glob('*.array_record*'))
