"""The perceptual network is converted from the files of its authors."""

import pickle

import jax
import numpy as np
import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.conversion.torch_format import writing
from rq_jax.distributed import partitioning
from rq_jax.jobs.convert import from_lpips
from rq_jax.models import lpips
from rq_jax.training.stage1 import perceptual
from tests import official
from tests.conversion import pickles


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Weights of VGG16 with its classifier, and of the linear heads."""
  folder = tmp_path_factory.mktemp('lpips')
  weights = official.drawn_weights('lpips')
  vgg = {n: a for n, a in weights.items() if n.startswith('features')}
  heads = {n: a for n, a in weights.items() if n.startswith('lin')}
  unused = {'classifier.0.weight': np.zeros((2, 2), np.float32)}
  writing.write(folder / 'vgg16.pth', vgg | unused)
  writing.write(folder / 'vgg.pth', heads)
  return str(folder / 'vgg16.pth'), str(folder / 'vgg.pth')


@pytest.mark.slow
def test_the_network_of_stage_1_is_the_one_in_the_files(
    files, tmp_path, capsys
):
  from_lpips.from_torchvision(*files, str(tmp_path / 'dst'))
  assert '--config.loss.perceptual_path' in capsys.readouterr().out
  mesh = partitioning.make_mesh({}, devices=jax.devices()[:1])
  network, variables = perceptual.restore(str(tmp_path / 'dst'), mesh)
  expected = official.lpips_params(official.drawn_weights('lpips'))
  jax.tree.map(np.testing.assert_array_equal, variables['params'], expected)
  assert isinstance(network, lpips.LPIPS)
  with pytest.raises(ValueError):
    stored.read_config(tmp_path / 'dst')  # It belongs to neither stage.


def _write_as_before_1_6(path, arrays):
  """The heads in float32, as in PyPI's package lpips."""
  state, storages = pickle.EMPTY_DICT, {}
  for key, (name, array) in enumerate(arrays.items()):
    strides = [n // array.itemsize for n in array.strides]
    storage = pickles.storage(key=str(key), numel=array.size)
    tensor = pickles.tensor(storage, shape=array.shape, stride=strides)
    state += pickles.text(name) + tensor + pickle.SETITEM
    storages[str(key)] = (array.size, array.tobytes())
  pickles.write_legacy(path, pickles.whole(state), storages)


def test_heads_of_before_pytorch_1_6_with_a_prefix_give_the_same_network(
    files, tmp_path, capsys
):
  weights = official.drawn_weights('lpips')
  heads = {f'module.{n}': a for n, a in weights.items() if n.startswith('lin')}
  _write_as_before_1_6(tmp_path / 'vgg.pth', heads)
  for given in (files[1], str(tmp_path / 'vgg.pth')):
    from_lpips.from_torchvision(files[0], given, str(tmp_path / 'dst'))
    (tmp_path / 'dst').rename(tmp_path / f'dst{given == files[1]}')
  first, prefix, second = capsys.readouterr().out.splitlines()
  assert first.startswith('LPIPS ') and first == second
  assert prefix == "vgg.pth: Removed 'module.' from their names."


def test_an_array_that_changed_on_the_disk_is_noticed(
    files, tmp_path, monkeypatch
):
  write = inference_copy.write

  def write_another(folder, config, variables):
    changed = dict(variables['params'])
    changed['weight_3'] = np.array(changed['weight_3'])
    changed['weight_3'].flat[-1] = np.nextafter(np.float32(1), np.float32(2))
    write(folder, config, {**variables, 'params': changed})

  monkeypatch.setattr(inference_copy, 'write', write_another)
  with pytest.raises(
      ValueError, match='params/weight_3 differs from --src=.*vgg'
  ):
    from_lpips.from_torchvision(*files, str(tmp_path / 'dst'))
  assert list(tmp_path.iterdir()) == []


def test_files_in_the_wrong_order_are_refused(files, tmp_path):
  vgg, heads = files
  with pytest.raises(ValueError, match='missing: features.0.weight'):
    from_lpips.from_torchvision(heads, vgg, str(tmp_path / 'dst'))
  assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_state_dict_is_refused(files, tmp_path):
  writing.write(tmp_path / 'list.pth', [1])
  with pytest.raises(ValueError, match='must hold a state dict, .* list'):
    from_lpips.from_torchvision(
        files[0], str(tmp_path / 'list.pth'), str(tmp_path / 'dst')
    )


def test_weights_without_a_distance_are_refused(tmp_path):
  nothing = np.full((1, 512, 1, 1), np.nan, np.float32)
  weights = official.drawn_weights('lpips') | {'lin4.model.1.weight': nothing}
  writing.write(tmp_path / 'all.pth', weights)
  path = str(tmp_path / 'all.pth')
  with pytest.raises(ValueError, match='distance of two fixed images'):
    from_lpips.from_torchvision(path, path, str(tmp_path / 'dst'))
  assert [p.name for p in tmp_path.iterdir()] == ['all.pth']
