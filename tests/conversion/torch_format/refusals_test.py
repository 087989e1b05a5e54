"""Damaged and foreign files are refused, and never read as something else."""

import os
import shlex
import zlib

import numpy as np
import pytest

from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import writing
from tests.conversion import pickles


@pytest.mark.parametrize('length', [0, 1, 3, 21, 22, 100, 300, 500, 600, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path, length):
  path = pickles.write(tmp_path / 'a.pt', pickles.whole(pickles.tensor()))
  path.write_bytes(path.read_bytes()[:length])
  with pytest.raises(ValueError, match='a.pt is (damaged|empty|not a file of)'):
    reading.TorchFile(path)


@pytest.mark.slow
def test_no_flipped_bit_changes_a_value_unnoticed(tmp_path):
  path = tmp_path / 'a.pt'
  writing.write(path, {'weight': np.arange(6, dtype=np.float32), 'step': 7})
  data = path.read_bytes()
  noticed = 0
  for position in range(len(data)):
    for bit in (0, 3, 7):
      changed = bytearray(data)
      changed[position] ^= 1 << bit
      path.write_bytes(changed)
      try:
        tree = pickles.read(path)
      except ValueError:
        noticed += 1
      else:
        assert list(tree) == ['weight', 'step'] and tree['step'] == 7
        np.testing.assert_array_equal(tree['weight'], np.arange(6.0))
  assert noticed > len(data)


def test_only_a_whole_storage_is_compared_with_its_checksum(tmp_path):
  tensors = [pickles.tensor(shape=(n,), stride=(1,)) for n in (2, 4)]
  path = pickles.write(
      tmp_path / 'a.pt', pickles.whole(pickles.together(*tensors))
  )
  damaged = pickles.VALUES[::-1]
  path.write_bytes(path.read_bytes().replace(pickles.VALUES, damaged))
  with reading.TorchFile(path) as file:
    part, whole = file.tree
    np.testing.assert_array_equal(
        file.read(part), np.frombuffer(damaged, np.float32)[:2]
    )
    with pytest.raises(ValueError, match="storage '0' differs from its check"):
      file.read(whole)


def test_a_bool_that_is_neither_true_nor_false_is_refused(tmp_path):
  pickled = pickles.tensor(pickles.storage('BoolStorage', numel=2), shape=(2,))
  path = pickles.write(
      tmp_path / 'a.pt', pickles.whole(pickled), {'0': b'\1\2'}
  )
  with pytest.raises(ValueError, match='neither true nor false'):
    pickles.read(path)


@pytest.mark.parametrize(
    'change',
    [
        {'storage': '1'},
        {'dtype': np.dtype(np.float64)},
        {'shape': (5,)},
        {'offset': 1},
        {'offset': -1},
        {'stride': (1, 1)},
    ],
)
def test_a_tensor_of_another_file_is_refused(tmp_path, change):
  path = pickles.write(tmp_path / 'a.pt', pickles.whole(pickles.tensor()))
  with reading.TorchFile(path) as file:
    foreign = {
        'dtype': file.tree.dtype,
        'shape': (4,),
        'stride': (1,),
        'offset': 0,
        'storage': '0',
    } | change
    with pytest.raises(ValueError, match='Take it from the tree'):
      file.read(reading.LazyTensor(**foreign))


def test_a_file_of_the_first_releases_is_refused_by_the_line_that_converts(
    tmp_path,
):
  path = tmp_path / "it's old $HOME.pt"
  path.write_bytes(b'sys_info'.ljust(257, b'\0') + b'ustar\x0000')
  with pytest.raises(ValueError, match='first releases') as refusal:
    reading.TorchFile(path)
  command = str(refusal.value).split('is installed: ')[1]
  program, option, code = shlex.split(command)
  assert (program, option) == ('python', '-c')
  compile(code, 'line', 'exec')
  assert code == (
      f'import torch; torch.save(torch.load("{path}", map_location="cpu",'
      f' weights_only=False), "{path}")'
  )


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ([('archive/constants.pkl', b'')], 'TorchScript'),
        ([('archive/code/__torch__.py', b'')], 'TorchScript'),
        ([('archive/byteorder', b'big')], 'big-endian'),
        ([('other/data.pkl', b'')], '2 files data.pkl'),
        ([('archive/data.pkl', b' ' * 17_000_000)], '17000000 bytes'),
    ],
)
def test_archives_of_other_kinds_are_refused(tmp_path, files, message):
  pickled = pickles.whole(pickles.tensor())
  path = pickles.write(tmp_path / 'a.pt', pickled, files=files)
  with pytest.raises(ValueError, match=message):
    reading.TorchFile(path)


def test_what_is_no_file_of_torch_is_refused(tmp_path):
  path = tmp_path / 'page.pt'
  path.write_bytes(b'no weights')
  with pytest.raises(ValueError, match="torch.save: it starts with b'no weigh"):
    reading.TorchFile(path)


def test_a_refused_file_is_closed(tmp_path):
  path = tmp_path / 'page.pt'
  path.write_bytes(b'<!DOCTYPE html>')
  before = os.listdir('/proc/self/fd')
  with pytest.raises(ValueError):
    reading.TorchFile(path)
  assert os.listdir('/proc/self/fd') == before


def test_the_checksum_of_the_pickle_is_compared(tmp_path):
  pickled = pickles.whole(pickles.number(7))
  path = pickles.write(tmp_path / 'a.pt', pickled)
  data = path.read_bytes()
  other = pickles.whole(pickles.number(8))
  assert data.count(pickled) == 1 and zlib.crc32(other) != zlib.crc32(pickled)
  path.write_bytes(data.replace(pickled, other))
  with pytest.raises(ValueError, match='data.pkl differs from its checksum'):
    reading.TorchFile(path)
