"""Jobs whose folder is removed, or becomes read-only or full, under them."""

import contextlib
import errno
import os
import shutil

import pytest

from rq_jax import files
from rq_jax.data.prepared import shards
from rq_jax.jobs.convert import output
from tests.jobs import generators
from tests.jobs.prepare import folders


def failing(monkeypatch, at, fail):
  """Calls `fail` with the path of the file that is written as number `at`."""
  whole, written = files.whole, []

  @contextlib.contextmanager
  def mortal(path, **options):
    written.append(path)
    if len(written) == at:
      fail(path)
    with whole(path, **options) as file:
      yield file

  monkeypatch.setattr(files, 'whole', mortal)


def raising(number):
  def fail(path):
    raise OSError(number, os.strerror(number), str(path))

  return fail


@pytest.mark.parametrize('at', [2, 4, 8])
def test_a_folder_that_was_removed_is_named(at, tmp_path, monkeypatch):
  out = tmp_path / 'out'
  with monkeypatch.context() as patch:
    failing(patch, at, lambda _: shutil.rmtree(out))
    with pytest.raises(
        ValueError, match=f'^{out} was removed while sample wrote to it'
    ):
      generators.run_labels(out, format='npz')
  assert not out.exists()
  assert '7 images are in' in generators.run_labels(out, format='npz')


@pytest.mark.parametrize('number', [errno.EROFS, errno.EACCES, errno.EIO])
def test_a_job_whose_disk_fails_continues_later(number, tmp_path, monkeypatch):
  generators.run_labels(tmp_path / 'whole', format='shards')
  out = tmp_path / 'out'
  with monkeypatch.context() as patch:
    failing(patch, 4, raising(number))
    with pytest.raises(
        ValueError,
        match=f'^{out} cannot be written any more: {os.strerror(number)}. All'
        ' finished images in it are kept',
    ):
      generators.run_labels(out, format='shards')
  assert not list(out.rglob('*.partial'))
  drawn = generators.counted(monkeypatch)
  generators.run_labels(out, format='shards')
  assert drawn == [3, 6]
  assert generators.contents(out) == generators.contents(tmp_path / 'whole')


@pytest.mark.parametrize('at', range(2, 14))
def test_a_quota_at_any_file_leaves_no_debris(at, tmp_path, monkeypatch):
  generators.run_labels(tmp_path / 'whole', format='npz')
  out = tmp_path / 'out'
  moments = len([*(tmp_path / 'whole').iterdir()]) + 2 * 3
  with monkeypatch.context() as patch:
    failing(patch, at, lambda path: full(path))
    if at <= moments:
      with pytest.raises(files.DiskFullError, match='or your quota|is full'):
        generators.run_labels(out, format='npz')
    else:
      generators.run_labels(out, format='npz')
  assert not list(out.rglob('*.partial'))
  generators.run_labels(out, format='npz')
  assert generators.contents(out) == generators.contents(tmp_path / 'whole')


def full(path):
  with files.naming_a_full_disk(path, needs=10):
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(path))


def test_errors_of_other_files_stay_as_they_are(tmp_path, monkeypatch):
  failing(monkeypatch, 3, lambda _: raising(errno.EIO)(tmp_path / 'source.jpg'))
  with pytest.raises(OSError, match=r'source\.jpg'):
    generators.run_labels(tmp_path / 'out')


def test_a_prepared_folder_that_was_removed_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(shards, 'SHARD_BYTES', folders.SHARD_BYTES)
  folders.write(tmp_path / 'images')
  out, begin = tmp_path / 'out', shards.Writer.__init__

  def removing(self, partial):
    if '00001-of' in partial.name:
      shutil.rmtree(out)
    begin(self, partial)

  with monkeypatch.context() as patch:
    patch.setattr(shards.Writer, '__init__', removing)
    with pytest.raises(
        ValueError, match=f'^{out} was removed while prepare wrote to it'
    ):
      folders.prepare(tmp_path / 'images', out)
  assert '40 images are in' in folders.prepare(tmp_path / 'images', out)


def test_a_conversion_whose_folder_was_removed_is_one_sentence(tmp_path):
  with (
      pytest.raises(
          ValueError, match=r'^--dst=.*out was removed, or cannot be'
      ),
      output.written_whole(str(tmp_path / 'out')) as partial,
  ):
    shutil.rmtree(partial)
    files.write_json(partial / 'x.json', 1)
  assert not list(tmp_path.iterdir())
  with (
      pytest.raises(FileNotFoundError, match='elsewhere'),
      output.written_whole(str(tmp_path / 'out')),
  ):
    (tmp_path / 'elsewhere').read_text()
