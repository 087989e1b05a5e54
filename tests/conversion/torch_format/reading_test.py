"""Files of torch.save are read as they were written."""

import collections
import os
import pathlib
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import tensors
from tests import official
from tests.conversion import pickles

RECORDINGS = sorted(
    path.parent.name for path in official.FIXTURES.glob('*/model.npz')
)


def recorded(model):
  """The official checkpoint of a recording."""
  folder = os.environ.get('RQ_JAX_FIXTURES')
  path = pathlib.Path(folder or '', model, 'model.pt')
  if not folder or not path.exists():
    pytest.skip(f'{model}/model.pt is only tested with RQ_JAX_FIXTURES')
  return path


def view(tmp_path, shape, stride, offset=0):
  """A view of a storage with 1, 2, 3 and 4, read from a file."""
  pickled = pickles.tensor(shape=shape, stride=stride, offset=offset)
  return pickles.read(
      pickles.write(tmp_path / 'view.pt', pickles.whole(pickled))
  )


@pytest.mark.parametrize('model', RECORDINGS)
def test_official_checkpoints_hold_what_was_recorded_of_them(model):
  tree = pickles.read(recorded(model))
  part = 'discriminator' if model == 'discriminator' else 'state_dict'
  with np.load(official.FIXTURES / model / 'model.npz') as expected:
    for key, value in expected.items():
      np.testing.assert_array_equal(tree[part][key], value, strict=True)


def test_a_shared_codebook_is_one_storage_under_several_names():
  with reading.TorchFile(recorded('rqvae_shared')) as file:
    state = file.tree['state_dict']
    keys = {
        state[f'quantizer.codebooks.{d}.{name}'].storage
        for d in range(4)
        for name in ('weight', 'embed_ema')
    }
  assert len(keys) == 2


@pytest.mark.parametrize(
    ('shape', 'stride', 'offset', 'expected'),
    [
        ((4,), (1,), 0, [1, 2, 3, 4]),
        ((2, 2), (2, 1), 0, [[1, 2], [3, 4]]),
        ((2, 2), (1, 2), 0, [[1, 3], [2, 4]]),
        ((2,), (2,), 1, [2, 4]),
        ((2, 2), (0, 1), 1, [[2, 3], [2, 3]]),
        ((3, 1), (1, 77), 1, [[2], [3], [4]]),
        ((1, 2), (2**62, 2), 1, [[2, 4]]),
        ((), (), 3, 4),
        ((0,), (1,), 4, []),
        ((3, 0), (1, 1), 0, np.zeros((3, 0))),
    ],
)
def test_views_have_the_values_that_their_strides_select(
    tmp_path, shape, stride, offset, expected
):
  values = view(tmp_path, shape, stride, offset)
  np.testing.assert_array_equal(values, np.float32(expected), strict=True)
  assert values.flags.c_contiguous


def test_arrays_are_independent_of_the_file_and_of_each_other(tmp_path):
  path = pickles.write(
      tmp_path / 'a.pt',
      pickles.whole(pickles.together(pickles.tensor(), pickles.tensor())),
  )
  first, second = pickles.read(path)
  first[:] = 0
  np.testing.assert_array_equal(second, [1, 2, 3, 4])
  np.testing.assert_array_equal(pickles.read(path)[0], [1, 2, 3, 4])


def test_a_closed_file_is_not_read(tmp_path):
  path = pickles.write(tmp_path / 'a.pt', pickles.whole(pickles.tensor()))
  with reading.TorchFile(path) as file:
    pass
  with pytest.raises(ValueError, match='is closed'):
    file.read(file.tree)


def test_only_the_bytes_of_a_tensor_are_read(tmp_path, monkeypatch):
  path = pickles.write(
      tmp_path / 'a.pt', pickles.whole(pickles.tensor(shape=(2,), offset=1))
  )
  with reading.TorchFile(path) as file:
    counts = []
    preadv = os.preadv
    monkeypatch.setattr(
        os, 'preadv', lambda *args: counts.append(preadv(*args)) or counts[-1]
    )
    np.testing.assert_array_equal(file.read(file.tree), [2, 3])
  assert sum(counts) == 8


def test_trees_keep_their_containers_and_numbers(tmp_path):
  ordered = pickles.name('collections', 'OrderedDict') + pickles.EMPTY
  metadata = pickles.together(pickles.text('_metadata'), pickles.number(1))
  tree = [
      # The attribute of a state dict, which is dropped.
      ordered
      + pickle.EMPTY_DICT
      + metadata.removeprefix(pickle.MARK).removesuffix(pickle.TUPLE)
      + pickle.SETITEM
      + pickle.BUILD,
      pickle.EMPTY_LIST + pickle.NONE + pickle.APPEND,
      pickle.BINFLOAT + struct.pack('>d', 0.1),
      pickles.number(2**63),
      pickle.NEWTRUE,
      pickles.name('torch', 'Size')
      + pickles.together(pickles.numbers([2, 3]))
      + pickle.REDUCE,
      pickles.name('torch', 'device')
      + pickles.together(pickles.text('cuda'), pickles.number(1))
      + pickle.REDUCE,
      pickles.name('collections', 'defaultdict')
      + pickles.name('__builtin__', 'dict')
      + pickle.TUPLE1
      + pickle.REDUCE,
      pickles.name('torch._utils', '_rebuild_parameter')
      + pickles.together(pickles.tensor(), pickle.NEWTRUE, ordered)
      + pickle.REDUCE,
  ]
  path = pickles.write(
      tmp_path / 'a.pt', pickles.whole(pickles.together(*tree))
  )
  with reading.TorchFile(path) as file:
    found = file.tree
    np.testing.assert_array_equal(file.read(found[-1]), [1, 2, 3, 4])
  expected = ({}, [None], 0.1, 2**63, True, (2, 3), 'cuda:1', {})
  assert found[:-1] == expected
  assert type(found[0]) is collections.OrderedDict
  assert [type(value) for value in found[:8]] == [
      collections.OrderedDict,
      list,
      float,
      int,
      bool,
      tuple,
      str,
      dict,
  ]


@pytest.mark.parametrize(('kind', 'dtype'), tensors.STORAGE_TYPES.items())
def test_storages_of_all_types_are_read(tmp_path, kind, dtype):
  expected = np.array([1, 0, 1], dtype)
  pickled = pickles.tensor(pickles.storage(kind, numel=3), shape=(3,))
  path = pickles.write(
      tmp_path / 'a.pt', pickles.whole(pickled), {'0': expected.tobytes()}
  )
  np.testing.assert_array_equal(pickles.read(path), expected, strict=True)


def test_bfloat16_is_that_of_ml_dtypes():
  dtype = tensors.STORAGE_TYPES['BFloat16Storage']
  assert dtype == ml_dtypes.bfloat16


def test_archives_of_pytorch_1_have_less_beside_the_tensors(tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.pt', 'w') as archive:
    archive.writestr('model/data.pkl', pickles.whole(pickles.tensor()))
    archive.writestr('model/data/0', pickles.VALUES)
    archive.writestr('model/version', b'3\n')
  np.testing.assert_array_equal(pickles.read(tmp_path / 'a.pt'), [1, 2, 3, 4])


def test_a_file_without_checksums_is_read(tmp_path):
  path = pickles.write(tmp_path / 'a.pt', pickles.whole(pickles.tensor()))
  data = bytearray(path.read_bytes())
  at = data.index(b'PK\1\2')
  while at >= 0:
    data[at + 16 : at + 20] = bytes(4)
    at = data.find(b'PK\1\2', at + 1)
  path.write_bytes(data)
  np.testing.assert_array_equal(pickles.read(path), [1, 2, 3, 4])
