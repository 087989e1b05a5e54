"""Reading any bytes ends in a value or in a ValueError.

By default there are few examples, the same in every run. Set RQ_JAX_FUZZ to a
number to run as many random examples of each kind. Failures found so are kept
as explicit examples.
"""

import io
import os
import pickle
import pickletools
import struct
import tarfile

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from rq_jax.conversion import archive
from rq_jax.conversion.configs import beside
from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import unpickling
from rq_jax.conversion.torch_format import writing
from tests.conversion import pickles

EXAMPLES = os.environ.get('RQ_JAX_FUZZ')
fuzz = hypothesis.settings(
    max_examples=int(EXAMPLES or 150),
    derandomize=not EXAMPLES,
    database=None,
    deadline=5000,
    suppress_health_check=list(hypothesis.HealthCheck),
)

# A mutation: its position, the number of bytes removed, and the bytes inserted.
MUTATIONS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from([0, 1, 1, 1, 2, 4, 8, 50]),
        st.one_of(
            st.binary(max_size=1),
            st.binary(max_size=8),
            st.sampled_from([b'\0' * 4, b'\xff' * 4, b'\xff' * 8, b'PK\1\2']),
        ),
    ),
    min_size=1,
    max_size=6,
)


def mutated(data, mutations):
  data = bytearray(data)
  for where, count, new in mutations:
    at = int(where * len(data))
    data[at : at + count] = new
  return bytes(data)


def read_all(path):
  """Reads all values of a file; a ValueError is allowed."""
  try:
    with reading.TorchFile(path) as file:
      waiting = [file.tree]
      while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
          waiting += value.values()
        elif isinstance(value, list | tuple):
          waiting += value
        elif isinstance(value, reading.LazyTensor):
          array = file.read(value)
          assert array.shape == value.shape and array.dtype == value.dtype
  except ValueError as error:
    # A short error that starts with the path of the file.
    assert type(error) is ValueError
    assert str(error).startswith(str(path)) and len(str(error)) < 1000
    str(error).encode()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('fuzz')


@pytest.fixture(scope='module')
def valid(folder):
  """The bytes of a small file that holds values of all kinds."""
  weight = np.arange(4, dtype=np.float32).reshape(2, 2)
  tree = {
      'epoch': 7,
      'state_dict': {'a': weight, 'b': weight, 'c': np.array(True)},
      'optimizer': [{'lr': 0.1, 'betas': (0.5, 0.9)}, None, 2**40],
  }
  writing.write(folder / 'valid.pt', tree)
  return (folder / 'valid.pt').read_bytes()


@pytest.fixture(scope='module')
def legacy(folder):
  """The bytes of a file from before PyTorch 1.6, with two storages."""
  more = pickles.storage('BoolStorage', '1', 1, more=(pickle.NONE,))
  state = pickle.EMPTY_DICT + pickles.old_text(b'a') + pickles.tensor()
  state += pickle.SETITEM + pickles.text('b')
  state += pickles.tensor(more, shape=(), stride=()) + pickle.SETITEM
  storages = {'1': (1, b'\1'), '0': (4, pickles.VALUES)}
  path = pickles.write_legacy(
      folder / 'legacy.pt', pickles.whole(state), storages
  )
  return path.read_bytes()


@pytest.mark.slow
@hypothesis.given(MUTATIONS)
@fuzz
def test_any_bytes_in_a_file_of_the_older_format(folder, legacy, mutations):
  path = folder / 'mutated.pt'
  path.write_bytes(mutated(legacy, mutations))
  read_all(path)
  # After the magic number and the version, which most mutations would damage.
  at = legacy.index(pickles.SYSTEM)
  path.write_bytes(legacy[:at] + mutated(legacy[at:], mutations))
  read_all(path)


@hypothesis.given(MUTATIONS)
@fuzz
def test_any_bytes_in_a_file(folder, valid, mutations):
  path = folder / 'mutated.pt'
  path.write_bytes(mutated(valid, mutations))
  read_all(path)


@hypothesis.given(MUTATIONS, st.sampled_from([b'PK\1\2', b'PK\5\6', b'PK\3\4']))
@fuzz
def test_any_bytes_in_the_headers_of_a_file(folder, valid, mutations, header):
  path = folder / 'headers.pt'
  at = valid.index(header)
  end = at + 200
  path.write_bytes(valid[:at] + mutated(valid[at:end], mutations) + valid[end:])
  read_all(path)


def _pickled(valid):
  start = valid.index(pickle.PROTO + b'\2')
  return valid[start : valid.index(pickle.STOP + b'PK', start) + 1]


@hypothesis.given(MUTATIONS)
@fuzz
def test_any_bytes_in_a_pickle_with_the_right_checksum(
    folder, valid, mutations
):
  path = folder / 'pickle.pt'
  storages = {'0': struct.pack('<4f', 0, 1, 2, 3), '1': b'\1'}
  pickles.write(path, mutated(_pickled(valid), mutations), storages)
  read_all(path)


NUMBERS = st.one_of(
    st.integers(-2, 5), st.sampled_from([2**31, 2**62, 2**63, -(2**63)])
)
CODES = [op.code.encode('latin-1') for op in pickletools.opcodes]
KNOWN = [
    op.code.encode('latin-1')
    for op in pickletools.opcodes
    if op.name in unpickling._INSTRUCTIONS and op.arg is None
]
INSTRUCTIONS = st.one_of(
    st.sampled_from(KNOWN),
    st.sampled_from(KNOWN),
    st.builds(bytes.__add__, st.sampled_from(CODES), st.binary(max_size=9)),
    NUMBERS.map(pickles.number),
    st.sampled_from(['storage', 'cpu', '0', 'a']).map(pickles.text),
    st.sampled_from([*sorted(calls.NAMES), 'os system', 'a.b C']).map(
        lambda name: pickles.name(*name.split(' '))
    ),
    st.builds(
        bytes.__add__,
        st.sampled_from([pickle.BINPUT, pickle.BINGET]),
        st.sampled_from([b'\0', b'\1', b'\2']),
    ),
    st.builds(pickles.storage, numel=NUMBERS),
    st.builds(
        pickles.tensor,
        offset=NUMBERS,
        shape=st.lists(NUMBERS, max_size=3),
        stride=st.lists(NUMBERS, max_size=3),
    ),
    st.just(pickle.EMPTY_TUPLE + pickle.REDUCE),
    st.binary(max_size=4).map(pickles.old_text),
)
WRITE = st.sampled_from([pickles.write, pickles.write_legacy])


@hypothesis.given(st.lists(INSTRUCTIONS, max_size=40), WRITE)
@fuzz
def test_any_instructions(folder, instructions, write):
  path = folder / 'instructions.pt'
  write(path, pickles.whole(*instructions))
  read_all(path)


def _tar():
  buffer = io.BytesIO()
  files = {
      'net/README': b'x' * 600,
      'net/stage1/model.pt': b'weights',
      'net/stage1/config.yaml': b'arch:\n  type: rq-vae\n',
  }
  with tarfile.open(fileobj=buffer, mode='w', format=tarfile.GNU_FORMAT) as tar:
    for name, data in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return buffer.getvalue()


@hypothesis.given(
    st.sampled_from([0, 1536, 2560]),
    st.lists(
        st.tuples(
            st.sampled_from([0, 20, 124, 135, 156, 157, 257, 345, 482]),
            st.one_of(
                st.binary(min_size=1, max_size=12),
                st.sampled_from(
                    [b'\x80', b'\xff' * 12, b'L', b'K', b'x', b'g']
                ),
                st.sampled_from([b'S', b'00000000000', b'77777777777', b'../']),
            ),
        ),
        max_size=4,
    ),
    MUTATIONS,
    st.booleans(),
)
@fuzz
def test_any_bytes_in_an_archive(folder, header, fields, mutations, sound):
  place = folder / 'archive'
  scratch = place / 'scratch'
  scratch.mkdir(parents=True, exist_ok=True)
  data = bytearray(_tar())
  for offset, value in fields:
    data[header + offset : header + offset + len(value)] = value
  # With a correct checksum, tarfile reads further.
  data[header + 148 : header + 156] = b' ' * 8
  checksum = b'%06o\0 ' % sum(data[header : header + 512])
  data[header + 148 : header + 156] = checksum
  src = place / 'net.tar'
  src.write_bytes(data if sound else mutated(data, mutations))
  try:
    with archive.open_source(src, scratch, limit=2**22) as source:
      assert source.stage1.is_relative_to(scratch)
  except ValueError as error:
    assert type(error) is ValueError and str(place) in str(error)
    str(error).encode()
  assert os.listdir(scratch) == []
  assert sorted(os.listdir(place)) == ['net.tar', 'scratch']


@hypothesis.given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ['!!int ', '!!float ', '!!timestamp ', '!!binary ', '!!set ']
                + ['!!omap ', '!!pairs ', '!!merge ', '!!null ', '!!bool ']
                + ['!!python/name:os.system ', '&a ', '*a', '<<: ', '? ', '- ']
                + ['a: ', '[', ']', '{', '}', ', ', '\n', '  ', '"', '=', '|']
                + ['0x', '1:1', '1e999', '.inf', '2001-13-01', '%', '---']
            ),
            st.characters(codec='latin-1'),
        ),
        max_size=20,
    ).map(''.join)
)
@fuzz
def test_any_text_in_a_config(folder, text):
  path = folder / 'config.yaml'
  path.write_text(text)
  try:
    assert isinstance(beside.read_yaml(path), dict)
  except ValueError as error:
    assert type(error) is ValueError and str(error).startswith(str(path))
    str(error).encode()
