"""State dicts are read alike from all kinds of files."""

import numpy as np
import pytest

from rq_jax.conversion import state_dicts
from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import writing
from tests import official
from tests.conversion import safetensors_format_test as safetensors

TRAINED = official.FIXTURES / 'training_archive'
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize('name', ['model.pt', 'legacy.pt'])
def test_what_the_official_trainer_saves_is_read_around_its_objects(name):
  with state_dicts.open_state_dict(TRAINED / name) as state:
    assert state.source == TRAINED / name
    assert state.shapes == {'weight': (2, 3), 'bias': (2,)}
    np.testing.assert_array_equal(state.read('weight'), WEIGHT)
    np.testing.assert_array_equal(state.read('bias'), [0.5, -0.5])
    assert state.unwrapped == (
        "Took the arrays in 'state_dict'; ignored 'epoch', 'state_dict_ema',"
        " 'discriminator', 'optimizer', 'scheduler', 'config' (an object of"
        " 'omegaconf.dictconfig.DictConfig'), 'dist' (an object of"
        " 'rqvae.utils.dist.DistEnv'), 'losses', 'rng'."
    )


@pytest.mark.parametrize('name', ['model.pt', 'legacy.pt'])
def test_only_the_objects_themselves_are_unread(name):
  with reading.TorchFile(TRAINED / name) as file:
    (group,) = file.tree['optimizer']['param_groups']
    betas = calls.Opaque('omegaconf.listconfig.ListConfig')
    assert (group['betas'], group['lr']) == (betas, 4e-5)
    assert file.tree['losses'] == {'train': [0.25]}
    assert file.tree['scheduler']['T_max'] == 10
    averages = file.tree['state_dict_ema']['weight']
    np.testing.assert_array_equal(file.read(averages), WEIGHT + 1)


def test_safetensors_are_read_by_the_same_names(tmp_path):
  header = {'module.a': safetensors.entry(0, 8)}
  path = safetensors.write(tmp_path / 'a', header, WEIGHT[0, :2].tobytes())
  with state_dicts.open_state_dict(path) as state:
    np.testing.assert_array_equal(state.read('a'), [0, 1])
    assert (state.tensors['a'].nbytes, state.tensors['a'].dtype) == (8, 'f4')
    assert state.unwrapped == "Removed 'module.' from their names."


def test_the_first_bytes_come_before_the_name(tmp_path):
  path = tmp_path / 'a.safetensors'
  writing.write(path, {'a': WEIGHT})
  with state_dicts.open_state_dict(path) as state:
    np.testing.assert_array_equal(state.read('a'), WEIGHT)
