"""Packed names are the names that went in, whatever their bytes are."""

import hashlib
import os
import pickle

import numpy as np
import pytest

from rq_jax.data import file_names

NAMES = ['a.png', '', 'ü🎉.png', os.fsdecode(b'\xff\xfe.png'), 'new\nline']


def test_all_names_come_back_in_order():
  packed = file_names.pack(NAMES)
  assert list(packed) == NAMES
  assert [packed[i] for i in range(len(packed))] == NAMES
  assert packed.data.tobytes() == b''.join(map(os.fsencode, NAMES))
  assert list(pickle.loads(pickle.dumps(packed))) == NAMES
  for outside in (-1, len(NAMES)):
    with pytest.raises(IndexError, match='5 names'):
      packed[outside]


def test_names_are_added_as_text_or_bytes_in_parts(monkeypatch):
  monkeypatch.setattr(file_names, '_PART', 2)
  packer = file_names.Packer()
  packer.add(NAMES)
  packer.add([os.fsencode(name) for name in NAMES])
  assert len(packer) == 10
  assert list(packer.pack()) == [*NAMES, *NAMES]


def test_names_are_joined_and_taken_by_index(monkeypatch):
  monkeypatch.setattr(file_names, '_PART', 2)
  packed = file_names.join(
      [file_names.pack(NAMES), file_names.pack([]), file_names.pack(['last'])]
  )
  assert list(packed) == [*NAMES, 'last']
  for chosen in ([], [5, 0, 3, 3, 1]):
    taken = packed.take(np.array(chosen, np.int64))
    assert list(taken) == [packed[i] for i in chosen]
  assert len(file_names.join([])) == 0


def test_stored_arrays_hold_the_names():
  packed = file_names.pack(NAMES)
  arrays = {**packed.arrays('files'), **file_names.pack([]).arrays('none')}
  assert sorted(arrays) == ['files', 'files_ends', 'none', 'none_ends']
  assert list(file_names.restored(arrays, 'files')) == NAMES
  assert not len(file_names.restored(arrays, 'none'))


def test_the_listing_hashes_names_their_ends_and_other_arrays():
  packed, sizes = file_names.pack(NAMES), np.arange(10)[::2]
  hashed = packed.data.tobytes() + packed.ends.tobytes() + sizes.tobytes()
  assert packed.listing(sizes) == hashlib.sha256(hashed).hexdigest()
  other = file_names.pack(['a', 'bc']).listing()
  assert file_names.pack(['ab', 'c']).listing() != other


def test_messages_show_only_printable_characters():
  assert [file_names.shown(name) for name in NAMES] == [
      'a.png',
      '',
      'ü🎉.png',
      r'\xff\xfe.png',
      r'new\nline',
  ]
