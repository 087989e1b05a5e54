"""Archives that PyTorch does not write are refused before they are unpacked."""

import os
import struct
import zipfile

import pytest

from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import zips
from tests.conversion import pickles


def _archive(tmp_path, **options):
  pickled = pickles.whole(pickles.tensor())
  return pickles.write(tmp_path / 'a.pt', pickled, **options)


def _patch(path, signature, offset, form, value, index=0):
  """Overwrites a field of the `index`-th header with this signature."""
  data = bytearray(path.read_bytes())
  at = -1
  for _ in range(index + 1):
    at = data.index(signature, at + 1)
  struct.pack_into(form, data, at + offset, value)
  path.write_bytes(data)


def _directory(path):
  fd = os.open(path, os.O_RDONLY)
  try:
    return zips.directory(fd, path)
  finally:
    os.close(fd)


ENTRY, LOCAL, END = b'PK\1\2', b'PK\3\4', b'PK\5\6'


def test_members_are_ranges_of_the_file(tmp_path):
  path = _archive(tmp_path)
  data = path.read_bytes()
  with zipfile.ZipFile(path) as archive:
    expected = {
        info.filename: (archive.read(info), info.CRC)
        for info in archive.infolist()
    }
  found = {
      name: (data[member.start : member.start + member.size], member.crc)
      for name, member in _directory(path).items()
  }
  assert found == expected


def test_the_larger_headers_are_read_where_sizes_do_not_fit(tmp_path):
  path = _archive(tmp_path)
  expected = _directory(path)
  data = path.read_bytes()
  at, count = data.index(END), len(expected)
  start, length = data.index(ENTRY), at - data.index(ENTRY)
  entries = data[start:at]
  # The first entry is of data.pkl: its three numbers move to an extra field.
  name_end = 46 + len('archive/data.pkl')
  size, offset = struct.unpack_from('<L', entries, 24)[0], 0
  first = bytearray(entries[:name_end])
  struct.pack_into('<2L', first, 20, 0xFFFFFFFF, 0xFFFFFFFF)
  struct.pack_into('<H', first, 30, 28 + 6)
  struct.pack_into('<L', first, 42, 0xFFFFFFFF)
  wide = struct.pack('<2H2s2H3Q', 9, 2, b'??', 1, 24, size, size, offset)
  entries = bytes(first) + wide + entries[name_end:]
  length = len(entries)
  end64 = struct.pack(
      '<4sQ2H2L4Q', b'PK\6\6', 44, 45, 45, 0, 0, count, count, length, start
  )
  locator = struct.pack('<4sLQL', b'PK\6\7', 0, start + length, 1)
  end = struct.pack(
      '<4s4H2LH', END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
  )
  path.write_bytes(data[:start] + entries + end64 + locator + end)
  assert _directory(path) == expected


def _add_comment(path):
  path.write_bytes(path.read_bytes()[:-2] + b'\3\0abc')


def _prepend(path):
  path.write_bytes(b'PK\3\4' + path.read_bytes())


def _overlap(path):
  data = path.read_bytes()
  second = data.index(ENTRY, data.index(ENTRY) + 1)
  (reaching_into_second,) = struct.unpack_from('<L', data, second + 42)
  for field in (20, 24):
    _patch(path, ENTRY, field, '<L', reaching_into_second)


HOSTILE = {
    'directory is missing': (
        lambda path: _patch(path, END, 0, '<L', 0),
        'missing',
    ),
    'comment': (_add_comment, 'missing'),
    'bytes before the archive': (_prepend, 'the wrong size'),
    'directory of another size': (
        lambda path: _patch(path, END, 12, '<L', 1),
        'the wrong size',
    ),
    'directory beyond the file': (
        lambda path: _patch(path, END, 16, '<L', 2**32 - 1),
        'the wrong size',
    ),
    'more files than entries': (
        lambda path: _patch(path, END, 10, '<H', 9),
        'the wrong number',
    ),
    'fewer files than entries': (
        lambda path: _patch(path, END, 10, '<H', 1),
        'the wrong number',
    ),
    'entry without a signature': (
        lambda path: _patch(path, ENTRY, 0, '<L', 0, index=1),
        'cannot be read',
    ),
    'name longer than the directory': (
        lambda path: _patch(path, ENTRY, 28, '<H', 60_000, index=3),
        'cut off|points|the wrong number',
    ),
    'name that is no text': (
        lambda path: [
            _patch(path, ENTRY, 46, '<B', 0xFF),
            _patch(path, LOCAL, 30, '<B', 0xFF),
        ],
        'names a file',
    ),
    'encrypted': (lambda path: _patch(path, ENTRY, 8, '<H', 1), 'encrypted'),
    'compressed': (lambda path: _patch(path, ENTRY, 10, '<H', 8), 'compressed'),
    'two sizes': (lambda path: _patch(path, ENTRY, 24, '<L', 9), 'two diff'),
    'incomplete 64-bit entry': (
        lambda path: _patch(path, ENTRY, 24, '<L', 2**32 - 1),
        '64-bit entry',
    ),
    'two names': (lambda path: _patch(path, LOCAL, 30, '<B', 66), 'two diff'),
    'header elsewhere': (
        lambda path: _patch(path, ENTRY, 42, '<L', 1),
        'no file starts',
    ),
    'header beyond the file': (
        lambda path: _patch(path, ENTRY, 42, '<L', 2**32 - 2),
        'no file starts',
    ),
    'data beyond the file': (
        lambda path: [
            _patch(path, ENTRY, 20, '<L', 2**31, index=2),
            _patch(path, ENTRY, 24, '<L', 2**31, index=2),
        ],
        'cut off',
    ),
    'members that overlap': (_overlap, 'overlap'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_an_archive_that_lies_is_refused(tmp_path, name):
  path = _archive(tmp_path)
  change, message = HOSTILE[name]
  change(path)
  with pytest.raises(ValueError, match=message) as refusal:
    reading.TorchFile(path)
  assert type(refusal.value) is ValueError
  assert str(refusal.value).startswith(str(path))
  assert os.listdir(tmp_path) == ['a.pt']


def test_a_compressed_archive_is_refused_without_being_decompressed(tmp_path):
  bomb = {'0': bytes(2**24)}
  path = _archive(tmp_path, storages=bomb, compress=True)
  assert path.stat().st_size < 2**16
  with pytest.raises(ValueError, match='holds .* compressed or encrypted'):
    reading.TorchFile(path)


def test_two_files_of_one_name_are_refused(tmp_path):
  twice = ('archive/data/0', pickles.VALUES)
  path = _archive(tmp_path, files=[twice, twice])
  with pytest.raises(ValueError, match="two files named 'archive/data/0'"):
    reading.TorchFile(path)


def test_a_storage_of_another_size_is_refused(tmp_path):
  path = _archive(tmp_path, storages={'0': pickles.VALUES[:-1]})
  with pytest.raises(ValueError, match='should have 16 bytes, but it has 15'):
    reading.TorchFile(path)


def test_names_that_lead_out_of_the_archive_lead_nowhere(tmp_path):
  folder = tmp_path / 'in'
  folder.mkdir()
  path = _archive(folder, files=[('../../outside', b''), ('/tmp/x', b'')])
  with reading.TorchFile(path) as file:
    assert file.read(file.tree).tolist() == [1, 2, 3, 4]
  assert os.listdir(tmp_path) == ['in'] and os.listdir(folder) == ['a.pt']


def test_a_directory_that_is_too_long_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(zips, 'MAX_DIRECTORY', 100)
  with pytest.raises(ValueError, match='at most 100 are read'):
    reading.TorchFile(_archive(tmp_path))
