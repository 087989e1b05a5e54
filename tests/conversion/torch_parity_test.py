"""PyTorch reads our files, and reads other files as we do.

Skipped where PyTorch is not installed.
"""

import collections
import os
import pathlib
import pickle

import ml_dtypes
import numpy as np
import pytest

from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import tensors
from rq_jax.conversion.torch_format import writing
from tests.conversion import pickles

torch = pytest.importorskip('torch')

FIXTURES = pathlib.Path(os.environ.get('RQ_JAX_FIXTURES') or '/nowhere')
CHECKPOINTS = sorted(FIXTURES.glob('*/model*.pt'))


def to_numpy(tensor):
  """The values of a PyTorch tensor of any type, including bfloat16."""
  tensor = tensor.detach().contiguous()
  if tensor.dtype == torch.bfloat16:
    return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
  return tensor.numpy()


def assert_same(ours, theirs, read):
  """Compares two trees: structure, types, order of keys, views and bits."""
  if isinstance(theirs, torch.Tensor):
    assert ours.shape == tuple(theirs.shape)
    assert ours.stride == theirs.stride()
    assert ours.offset == theirs.storage_offset()
    values, expected = read(ours), to_numpy(theirs)
    assert values.dtype == expected.dtype and values.shape == expected.shape
    assert values.tobytes() == expected.tobytes()
  elif isinstance(theirs, dict):
    assert list(ours) == list(theirs)
    ordered = isinstance(theirs, collections.OrderedDict)
    assert isinstance(ours, collections.OrderedDict) == ordered
    for key in theirs:
      assert_same(ours[key], theirs[key], read)
  elif isinstance(theirs, list | tuple):
    for our, their in zip(ours, theirs, strict=True):
      assert_same(our, their, read)
  elif isinstance(theirs, torch.device):
    assert ours == str(theirs)
  else:
    assert (type(ours), ours) == (type(theirs), theirs)


def assert_read_alike(path):
  theirs = torch.load(path, map_location='cpu', weights_only=True)
  with reading.TorchFile(path) as file:
    assert_same(file.tree, theirs, file.read)


@pytest.mark.parametrize(
    'path', CHECKPOINTS, ids=[f'{p.parent.name}-{p.stem}' for p in CHECKPOINTS]
)
def test_official_checkpoints_are_read_alike(path):
  assert_read_alike(path)


def training_archive():
  """A tree like the one the official trainer saves, for a small network."""
  torch.manual_seed(0)
  model = torch.nn.Sequential(
      torch.nn.Conv2d(3, 4, 3),
      torch.nn.BatchNorm2d(4),
      torch.nn.Conv2d(4, 3, 1),
  )
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
  scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
  for _ in range(3):
    optimizer.zero_grad()
    model(torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    scheduler.step()
  return {
      'epoch': 3,
      'state_dict': model.state_dict(),
      'optimizer': optimizer.state_dict(),
      'scheduler': {'warmup': None, 'after': scheduler.state_dict()},
      'state_dict_ema': model.state_dict(),
  }


def test_a_training_archive_is_read_alike(tmp_path):
  torch.save(training_archive(), tmp_path / 'epoch3_model.pt')
  assert_read_alike(tmp_path / 'epoch3_model.pt')


def test_views_parameters_and_odd_values_are_read_alike(tmp_path):
  base = torch.arange(24.0).reshape(2, 3, 4)
  tree = {
      'views': [base, base[0].T, base[1], base[:, ::2], base.permute(2, 0, 1)],
      'expanded': base[0, 0].expand(2, 4),
      'parameter': torch.nn.Parameter(base.clone()),
      'empty': [torch.empty(0), torch.empty(3, 0), torch.empty(0, 2, 2)],
      'scalar': torch.tensor(7),
      'size': base.shape,
      'device': [torch.device('cpu'), torch.device('cuda:1')],
      'plain': [1, -(2**40), 2**63, 0.1, float('inf'), 'text', True, None],
      'nested': collections.OrderedDict([('b', ()), ('a', [{}])]),
      3: (1, (2, (3,))),
  }
  torch.save(tree, tmp_path / 'a.pt')
  assert_read_alike(tmp_path / 'a.pt')


@pytest.mark.parametrize('dtype', tensors.STORAGE_TYPES.values(), ids=str)
def test_all_types_are_read_and_written_alike(tmp_path, dtype):
  high = 2 if dtype == np.bool_ else 256
  data = np.random.default_rng(0).integers(
      0, high, 12 * dtype.itemsize, np.uint8
  )
  array = data.view(dtype).reshape(3, 4)
  writing.write(tmp_path / 'ours.pt', array)
  loaded = torch.load(tmp_path / 'ours.pt', weights_only=True)
  assert loaded.dtype == getattr(torch, dtype.name)
  assert to_numpy(loaded).tobytes() == array.tobytes()
  torch.save(loaded, tmp_path / 'theirs.pt')
  assert_read_alike(tmp_path / 'theirs.pt')


@pytest.mark.parametrize('mmap', [False, True])
def test_what_is_written_is_loaded_with_weights_only(tmp_path, mmap):
  codebook = np.arange(12, dtype=np.float32).reshape(3, 4)
  tree = {
      'epoch': 7,
      'state_dict': collections.OrderedDict(
          [
              ('quantizer.codebooks.1.weight', codebook),
              ('quantizer.codebooks.0.weight', codebook),
              ('offsets', np.int64([0, 64])),
              ('count', np.array(5, np.int64)),
              ('fortran', np.asfortranarray(codebook)),
              ('empty', np.zeros((0, 3), np.float16)),
          ]
      ),
      'plain': [1, -(2**40), 2**63, 0.1, float('inf'), 'text', True, None, ()],
  }
  path = tmp_path / 'a.pt'
  writing.write(path, tree)
  loaded = torch.load(path, weights_only=True, mmap=mmap)
  assert list(loaded) == list(tree) and loaded['plain'] == tree['plain']
  assert loaded['epoch'] == 7
  state = loaded['state_dict']
  assert type(state) is collections.OrderedDict
  assert list(state) == list(tree['state_dict'])
  for name, expected in tree['state_dict'].items():
    values = to_numpy(state[name])
    np.testing.assert_array_equal(values, expected, strict=True)
    assert not state[name].requires_grad
  shared = [
      state[f'quantizer.codebooks.{d}.weight'].untyped_storage().data_ptr()
      for d in (0, 1)
  ]
  assert shared[0] == shared[1]
  assert_read_alike(path)


def test_a_written_state_dict_is_loaded_strictly(tmp_path):
  torch.manual_seed(0)
  source, target = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
  state = collections.OrderedDict(
      (name, value.numpy()) for name, value in source.state_dict().items()
  )
  writing.write(tmp_path / 'a.pt', {'state_dict': state})
  loaded = torch.load(tmp_path / 'a.pt', weights_only=True)
  target.load_state_dict(loaded['state_dict'], strict=True)
  x = torch.randn(2, 3)
  torch.testing.assert_close(target(x), source(x), rtol=0, atol=0)


def test_files_of_the_older_format_are_read_alike(tmp_path):
  path = tmp_path / 'old.pth'
  torch.save(training_archive(), path, _use_new_zipfile_serialization=False)
  assert_read_alike(path)


@pytest.mark.parametrize('dtype', tensors.STORAGE_TYPES.values(), ids=str)
def test_views_of_the_older_format_are_read_alike(tmp_path, dtype):
  base = torch.arange(24).reshape(2, 3, 4).to(getattr(torch, dtype.name))
  tree = {
      'views': [
          base,
          base[0].T,
          base[1],
          base[:, ::2],
          base[0, 0].expand(2, 4),
      ],
      'parameter': torch.nn.Parameter(base.clone(), requires_grad=False),
      'empty': [torch.empty(0), torch.empty(3, 0)],
      'plain': [1, -(2**40), 0.1, 'text', True, None, base.shape],
  }
  path = tmp_path / 'old.pth'
  torch.save(tree, path, _use_new_zipfile_serialization=False)
  assert_read_alike(path)


@pytest.mark.parametrize(
    'made',
    [pickles.state_of_python_2(b'weight'), pickles.state_of_parameters()],
)
def test_what_older_releases_wrote_is_read_alike(tmp_path, made):
  assert_read_alike(pickles.write_legacy(tmp_path / 'old.pth', made))


def test_what_is_put_together_for_tests_is_what_pytorch_reads(tmp_path):
  view = pickles.storage(more=(pickle.NONE,))
  made = pickles.whole(pickles.tensor(view, shape=(2, 2), stride=(1, 2)))
  path = pickles.write_legacy(tmp_path / 'old.pth', made)
  assert torch.load(path, weights_only=True).tolist() == [[1, 3], [2, 4]]
  assert_read_alike(path)


@pytest.mark.filterwarnings('ignore:.*is deprecated')
def test_a_torchscript_program_is_refused(tmp_path):
  path = tmp_path / 'program.pt'
  torch.jit.script(torch.nn.Linear(2, 2)).save(path)
  with pytest.raises(ValueError, match='TorchScript'):
    reading.TorchFile(path)


def test_a_file_without_checksums_is_read_alike(tmp_path):
  torch.serialization.set_crc32_options(False)
  try:
    torch.save(training_archive(), tmp_path / 'a.pt')
  finally:
    torch.serialization.set_crc32_options(True)
  assert_read_alike(tmp_path / 'a.pt')
