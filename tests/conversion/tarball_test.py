"""An archive is unpacked only to the intended places, or refused."""

import gzip
import io
import os
import pathlib
import tarfile

import pytest

from rq_jax.conversion import archive
from rq_jax.conversion import tarball

RQVAE = b'arch:\n  type: rq-vae\n'
MODEL, CONFIG = 'net/stage1/model.pt', 'net/stage1/config.yaml'
LIMIT = 2**20


def entry(name, data=b'', kind=tarfile.REGTYPE, **fields):
  info = tarfile.TarInfo(name)
  info.type, info.size = kind, len(data)
  for field, value in fields.items():
    setattr(info, field, value)
  return info, data


GOOD = [entry(MODEL, b'weights'), entry(CONFIG, RQVAE)]


def write(path, entries, *, form=tarfile.PAX_FORMAT, end=True):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w', format=form) as tar:
    for info, data in entries:
      tar.addfile(info, io.BytesIO(data))
    length = tar.offset
  data = buffer.getvalue() if end else buffer.getvalue()[:length]
  path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)
  return path


def listing(folder):
  """The contents of all files in a folder, by path; '' for folders."""
  return {
      str(path.relative_to(folder)): path.read_bytes() if path.is_file() else ''
      for path in sorted(folder.rglob('*'))
  }


def unpacked(src, scratch, **options):
  with archive.open_source(src, scratch, **options) as source:
    return listing(source.stage1.parents[1])


@pytest.mark.parametrize('name', ['net.tar', 'net.tar.gz'])
@pytest.mark.parametrize(
    'form', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_checkpoints_are_unpacked_and_all_else_is_passed_over(
    tmp_path, name, form
):
  other = [
      entry('net', kind=tarfile.DIRTYPE),
      entry('net/._stage1', b'macOS'),
      entry('net/stage1/._model.pt', b'macOS'),
      entry('net/stage1/optimizer.pt', b'x' * 5000),
      entry('net/README.md', b'read'),
      entry('LICENSE', b'free'),
      entry('net/a/stage1/model.pt', b'too deep'),
      entry('net/stage1/' + 'long' * 60, b'name'),
  ]
  if form == tarfile.USTAR_FORMAT:
    other.pop()
  src = write(tmp_path / name, [*other[:4], *GOOD, *other[4:]], form=form)
  assert unpacked(src, tmp_path / 'scratch') == {
      'stage1': '',
      'stage1/model.pt': b'weights',
      'stage1/config.yaml': RQVAE,
  }


@pytest.mark.parametrize('around', ['', './', './net/'])
def test_the_folder_around_the_stages_may_be_missing(tmp_path, around):
  entries = [
      entry(f'{around}stage1/model.pt', b'weights'),
      entry(f'{around}stage1/config.yaml', RQVAE),
  ]
  src = write(tmp_path / 'net.tar', entries)
  assert unpacked(src, tmp_path)['stage1/model.pt'] == b'weights'


def test_progress_ends_with_the_whole_file(tmp_path):
  data = os.urandom(3 * 2**20 + 5)
  src = write(tmp_path / 'net.tar.gz', [entry(MODEL, data), GOOD[1]])
  calls = []
  contents = unpacked(
      src, tmp_path, progress=lambda *progress: calls.append(progress)
  )
  assert contents['stage1/model.pt'] == data
  size = src.stat().st_size
  assert len(calls) > 3 and calls == sorted(calls)
  assert calls[-1] == (size, size) and {total for _, total in calls} == {size}


DEVICE = {'devmajor': 1, 'devminor': 3}
SPARSE = {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0'}
MANY = [entry(f'net/{i}') for i in range(tarball.MAX_MEMBERS + 1)]

# By name: entries of the archive, and a part of the error.
HOSTILE = {
    'traversal': ([entry('../stage1/model.pt', b'x')], 'outside of it'),
    'traversal within': (
        [entry('net/../../stage1/model.pt', b'x')],
        'outside of it',
    ),
    'traversal of another file': ([entry('../../x', b'x')], 'outside of it'),
    'traversal by a folder': (
        [entry('../x', kind=tarfile.DIRTYPE)],
        'outside of it',
    ),
    'absolute name': ([entry('/tmp/stage1/model.pt', b'x')], 'outside of it'),
    'backslashes': ([entry('..\\stage1\\model.pt', b'x')], 'outside of it'),
    'symbolic link': (
        [entry(MODEL, kind=tarfile.SYMTYPE, linkname='/etc/passwd')],
        'a link',
    ),
    'symbolic link of a folder': (
        [entry('net/stage1', kind=tarfile.SYMTYPE, linkname='/tmp'), *GOOD],
        'a link',
    ),
    'hard link': (
        [entry(MODEL, kind=tarfile.LNKTYPE, linkname='/etc/passwd')],
        'a link',
    ),
    'hard link to a member': (
        [*GOOD, entry('net/x', kind=tarfile.LNKTYPE, linkname=MODEL)],
        'a link',
    ),
    'character device': (
        [entry(MODEL, kind=tarfile.CHRTYPE, **DEVICE)],
        'a dev',
    ),
    'block device': ([entry('x', kind=tarfile.BLKTYPE, **DEVICE)], 'a device'),
    'pipe': ([entry(MODEL, kind=tarfile.FIFOTYPE)], 'a device or the like'),
    'unknown kind': ([entry(MODEL, kind=b'Z')], 'the like'),
    'sparse file': (
        [entry(MODEL, b'1\n0\n5\n'.ljust(512, b'\0'), pax_headers=SPARSE)],
        'the like',
    ),
    'the same file twice': ([*GOOD, GOOD[0]], 'several files'),
    'two models': (
        [*GOOD, entry('other/stage2/model.pt', b'x')],
        'several files',
    ),
    'long config': (
        [GOOD[0], entry(CONFIG, b'#' * (tarball.MAX_CONFIG + 1))],
        'a config.yaml of 1048577 bytes',
    ),
    'no checkpoint': ([entry('README', b'x')], 'neither stage1/model.pt nor'),
    'no config': (GOOD[:1], 'stage1, but not stage1/config.yaml'),
    'config that executes': (
        [GOOD[0], entry(CONFIG, b'!!python/object/apply:os.system [ls]')],
        'constructor',
    ),
    'too many members': (MANY, 'more than 1000 members'),
    'long header': (
        [entry('net/x', pax_headers={'comment': 'x' * (2**20 + 512)})],
        'a header of',
    ),
}


def _refused(src, tmp_path, message, **options):
  """Checks that opening raises, and leaves everything as it was."""
  (tmp_path / 'scratch').mkdir()
  before = listing(tmp_path)
  with pytest.raises(ValueError, match=message) as refusal:
    unpacked(src, tmp_path / 'scratch', **options)
  assert type(refusal.value) is ValueError
  # An error about a config starts with the path of the config.
  assert str(refusal.value).startswith(str(tmp_path))
  assert listing(tmp_path) == before


@pytest.mark.parametrize('suffix', ['tar', 'tar.gz'])
@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing(
    tmp_path, name, suffix
):
  entries, message = HOSTILE[name]
  limit = 2**23
  src = write(tmp_path / f'net.{suffix}', entries)
  _refused(src, tmp_path, message, limit=limit)
  assert not pathlib.Path('/tmp/stage1').exists()


@pytest.mark.parametrize(
    'entries',
    [
        [entry(MODEL, bytes(2 * LIMIT))],
        [entry('net/other', bytes(2 * LIMIT))],
        [*GOOD, entry('net/other', bytes(2 * LIMIT))],
        [entry('net/a', bytes(LIMIT - 4096)), entry(MODEL, bytes(8192))],
    ],
)
def test_a_decompression_bomb_is_refused_at_the_limit(tmp_path, entries):
  src = write(tmp_path / 'net.tar.gz', entries)
  assert src.stat().st_size < LIMIT // 100
  _refused(src, tmp_path, '1048576.*unpack it and give the folder', limit=LIMIT)


def test_what_follows_the_end_counts_as_well(tmp_path):
  src = write(tmp_path / 'net.tar', GOOD)
  src.write_bytes(gzip.compress(src.read_bytes() + bytes(2 * LIMIT)))
  _refused(src, tmp_path, 'more than 1048576 bytes', limit=LIMIT)


@pytest.mark.parametrize('name', ['net.tar', 'net.tar.gz'])
def test_an_archive_that_is_cut_off_anywhere_is_refused(tmp_path, name):
  data = write(tmp_path / name, GOOD).read_bytes()
  step = 40 if name.endswith('gz') else 512
  scratch = tmp_path / 'scratch'
  scratch.mkdir()
  # The last blocks of a tar are padding.
  stop = len(data) if name.endswith('gz') else 4 * 512 + 1
  for length in (*range(0, stop, step), 700, 1500):
    (tmp_path / name).write_bytes(data[: min(length, stop - 1)])
    with pytest.raises(ValueError, match='is (damaged|cut off|empty)'):
      unpacked(tmp_path / name, scratch)
    assert os.listdir(scratch) == []


def test_no_flipped_bit_of_a_compressed_archive_goes_unnoticed(tmp_path):
  src = write(tmp_path / 'net.tar.gz', GOOD)
  data = src.read_bytes()
  expected = unpacked(src, tmp_path)
  for position in range(len(data)):
    changed = bytearray(data)
    changed[position] ^= 1 << position % 8
    src.write_bytes(changed)
    try:
      assert unpacked(src, tmp_path) == expected
    except ValueError as error:
      assert type(error) is ValueError


def test_a_header_that_points_back_is_refused(tmp_path):
  src = write(tmp_path / 'net.tar', GOOD)
  data = bytearray(src.read_bytes())
  # A size of -512 in the base-256 form.
  data[124:136] = (-512).to_bytes(12, 'big', signed=True)
  data[148:156] = b' ' * 8
  data[148:156] = b'%06o\0 ' % sum(data[:512])
  src.write_bytes(data)
  _refused(src, tmp_path, 'net.tar')


def test_a_full_disk_is_noticed_before_anything_is_written(
    tmp_path, monkeypatch
):
  monkeypatch.setattr(
      tarball.shutil, 'disk_usage', lambda _: type('Usage', (), {'free': 6})
  )
  src = write(tmp_path / 'net.tar', GOOD)
  _refused(src, tmp_path, 'needs 7 bytes in .* 6 are free')


def test_another_kind_of_file_is_refused(tmp_path):
  src = tmp_path / 'net.rar'
  src.write_bytes(b'Rar!' + bytes(1000))
  _refused(src, tmp_path, 'not a .tar or .tar.gz file')


def test_an_archive_of_another_kind_is_to_be_unpacked(tmp_path):
  src = tmp_path / 'net.zip'
  src.write_bytes(b'PK\3\4' + bytes(1000))
  _refused(src, tmp_path, 'no config.yaml beside it.*Unpack it if')
