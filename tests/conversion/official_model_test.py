"""The parts of an official checkpoint are found wherever they are."""

import json
import pickle
import shutil

import numpy as np
import pytest
import yaml

from rq_jax.checkpoints import stored
from rq_jax.conversion import official_model
from rq_jax.conversion.torch_format import writing
from tests import official
from tests.conversion import checkpoints
from tests.conversion import pickles
from tests.conversion import safetensors_format_test as safetensors

NAME = 'rqvae_shared'


@pytest.fixture(scope='module')
def state():
  return official.weights(NAME, whole=True)


@pytest.fixture(scope='module')
def discriminator():
  with np.load(official.FIXTURES / 'discriminator' / 'model.npz') as arrays:
    return dict(arrays)


def _described(folder, gan):
  """Writes the config of the recorded model; returns the path beside it."""
  raw = checkpoints.raw(NAME)
  if not gan:
    del raw['gan']
  (folder / 'config.yaml').write_text(yaml.safe_dump(raw))
  return folder / 'model.pt'


def _save(path, arrays):
  """Writes arrays of float32 and of int64 to a safetensors file."""
  header, data = {}, b''
  codes = {'float32': 'F32', 'int64': 'I64'}
  for name, array in arrays.items():
    end = len(data) + array.nbytes
    code = codes[array.dtype.name]
    header[name] = safetensors.entry(len(data), end, array.shape, code)
    data += np.ascontiguousarray(array).tobytes()
  return safetensors.write(path, header, data)


def _opened(path, **options):
  """Names of the arrays, of our collections, and what was said."""
  with official_model.open_model(path, **options) as model:
    state = model.state
    return set(state.tensors), set(model.abstract), state.unwrapped


def test_safetensors_hold_a_discriminator_under_names_of_its_own(
    tmp_path, state, discriminator
):
  path = _described(tmp_path, gan=True).with_suffix('.safetensors')
  _save(path, state | discriminator)
  names, collections, said = _opened(path)
  assert names == {*state, *discriminator} and not said
  assert {'disc_params', 'disc_stats'} < collections
  _described(tmp_path, gan=False)
  with pytest.raises(ValueError, match='unexpected: main.0.weight'):
    _opened(path)


def test_a_discriminator_may_be_wrapped_as_its_model_is(
    tmp_path, state, discriminator
):
  path = _described(tmp_path, gan=True)
  wrapped = {f'module.{name}': array for name, array in discriminator.items()}
  tree = {'model': state, 'discriminator': wrapped, 'epoch': 5}
  writing.write(path, tree)
  names, collections, said = _opened(path)
  assert names == {*state, *discriminator} and 'disc_params' in collections
  assert said == "Took the arrays in 'model'; ignored 'epoch'."
  _described(tmp_path, gan=False)
  names, collections, said = _opened(path)
  assert names == set(state) and 'disc_params' not in collections
  assert said == "Took the arrays in 'model'; ignored 'discriminator', 'epoch'."


def test_our_description_serves_where_there_is_no_official_one(tmp_path, state):
  path = _described(tmp_path, gan=False).with_suffix('.safetensors')
  _save(path, state)
  shutil.move(tmp_path / 'config.yaml', tmp_path / 'elsewhere.yaml')
  with pytest.raises(ValueError, match=r'config.yaml is missing, so the arch'):
    _opened(path)
  stored.write_config(tmp_path, official.config(NAME))
  names, collections, _ = _opened(path)
  assert names == set(state) and 'disc_params' not in collections
  (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'clip'}))
  with pytest.raises(ValueError, match=r'config.json is not a valid exper'):
    _opened(path)


def test_an_object_in_place_of_a_tensor_is_missed_and_named(tmp_path):
  path = _described(tmp_path, gan=False)
  call = pickles.name('torch._utils', '_rebuild_qtensor')
  call += pickle.EMPTY_TUPLE + pickle.REDUCE
  body = pickle.EMPTY_DICT + pickle.MARK + pickles.text('a') + pickles.tensor()
  body += pickles.text('quant_conv.bias') + call + pickle.SETITEMS
  pickles.write(path, pickles.whole(body))
  with pytest.raises(ValueError, match=r'missing: .*unexpected: a\.') as error:
    _opened(path)
  assert str(error.value).endswith(
      "Ignored 'quant_conv.bias' (an object of"
      " 'torch._utils._rebuild_qtensor')."
  )
