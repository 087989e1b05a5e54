"""Objects of unknown classes are named, never made, and never executed."""

import os
import pickle
import struct

import numpy as np
import pytest

from rq_jax.conversion import state_dicts
from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import reading
from tests.conversion import hostile_pickles
from tests.conversion import pickles

COMMAND = pickles.name('os', 'system') + hostile_pickles.CALL
OBJECT = pickles.name('a.b', 'C') + pickle.EMPTY_TUPLE + pickle.NEWOBJ
ITEM = pickles.text('x') + pickles.number(1)

# By name: a value under a key that no model needs, and the name it gets.
UNREAD = {
    'os.system': (COMMAND, 'os.system'),
    'eval': (pickles.name('__builtin__', 'eval') + hostile_pickles.CALL,)
    + ('__builtin__.eval',),
    'getattr': (
        hostile_pickles.GETATTR + pickle.REDUCE + hostile_pickles.CALL,
        '__builtin__.getattr',
    ),
    'class': (pickles.name('typing', 'Any'), 'typing.Any'),
    'object': (OBJECT, 'a.b.C'),
    'object with attributes': (
        OBJECT + pickle.EMPTY_DICT + pickle.BUILD,
        'a.b.C',
    ),
    'object with a command as its attributes': (
        OBJECT + COMMAND + pickle.BUILD,
        'a.b.C',
    ),
    'object that is made from a command': (
        pickles.name('a.b', 'C') + COMMAND + pickle.TUPLE1 + pickle.NEWOBJ,
        'a.b.C',
    ),
    'list of another class': (
        OBJECT + pickle.MARK + pickles.numbers([1, 2]) + pickle.APPENDS,
        'a.b.C',
    ),
    'list of one item': (OBJECT + COMMAND + pickle.APPEND, 'a.b.C'),
    'dict of another class': (OBJECT + ITEM + pickle.SETITEM, 'a.b.C'),
    'dict of any keys': (
        OBJECT + pickle.MARK + OBJECT * 2 + pickle.SETITEMS,
        'a.b.C',
    ),
    'object that holds itself': (
        OBJECT + b'q\0' + pickle.EMPTY_DICT + pickles.text('parent')
        + b'h\0' + pickle.SETITEM + pickle.BUILD,
        'a.b.C',
    ),
    'NumPy number': (
        pickles.name('numpy.core.multiarray', 'scalar') + hostile_pickles.CALL,
        'numpy.core.multiarray.scalar',
    ),
}  # fmt: skip


def _checkpoint(value):
  """A training checkpoint with a value beside the state dict."""
  state = pickle.EMPTY_DICT + pickles.text('weight') + pickles.tensor()
  items = pickles.text('hparams') + value
  items += pickles.text('state_dict') + state + pickle.SETITEM
  return pickles.whole(
      pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
  )


@pytest.mark.parametrize('write', [pickles.write, pickles.write_legacy])
@pytest.mark.parametrize('name', UNREAD)
def test_what_no_model_needs_is_named_and_not_made(
    tmp_path, monkeypatch, name, write
):
  monkeypatch.chdir(tmp_path)
  value, expected = UNREAD[name]
  path = write(tmp_path / 'a.pt', _checkpoint(value))
  with reading.TorchFile(path) as file:
    assert file.tree['hparams'] == calls.Opaque(expected)
  with state_dicts.open_state_dict(path) as state:
    np.testing.assert_array_equal(state.read('weight'), [1, 2, 3, 4])
    assert "ignored 'hparams' (an object of" in state.unwrapped
    assert expected in state.unwrapped
  assert os.listdir(tmp_path) == ['a.pt']


@pytest.mark.parametrize('name', UNREAD)
def test_the_same_as_a_model_is_refused_by_name(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  value, expected = UNREAD[name]
  body = pickles.text('state_dict') + value + pickle.SETITEM
  path = pickles.write(
      tmp_path / 'a.pt', pickles.whole(pickle.EMPTY_DICT + body)
  )
  with (
      pytest.raises(ValueError, match=f'must hold a state dict.*{expected}'),
      state_dicts.open_state_dict(path),
  ):
    pass
  assert os.listdir(tmp_path) == ['a.pt']


def test_a_whole_model_is_refused_by_its_class(tmp_path):
  body = pickles.name('torchvision.models.vgg', 'VGG') + pickle.EMPTY_TUPLE
  path = pickles.write(tmp_path / 'a.pt', pickles.whole(body + pickle.NEWOBJ))
  with pytest.raises(ValueError, match="'torchvision.models.vgg.VGG'"):
    reading.TorchFile(path)


def test_a_tensor_of_unknown_numbers_is_unread(tmp_path):
  kind = pickles.name('torch', 'ComplexFloatStorage')
  identity = pickles.together(
      pickles.text('storage'), kind, pickles.text('0'), pickles.text('cpu'),
      pickles.number(2),
  )  # fmt: skip
  tensor = pickles.tensor(identity + pickle.BINPERSID, shape=(2,))
  path = pickles.write(tmp_path / 'a.pt', _checkpoint(tensor))
  assert pickles.read(path)['hparams'] == calls.Opaque(
      'torch.ComplexFloatStorage'
  )


@pytest.mark.parametrize('source', [pickle.NONE, pickles.text('class C: ...')])
def test_a_module_with_its_source_is_unread(tmp_path, source):
  """PyTorch stored the source of modules before 1.6."""
  module = pickles.together(
      pickles.text('module'), pickles.name('a.b', 'C'), source, source
  )
  made = module + pickle.BINPERSID + pickle.EMPTY_TUPLE + pickle.NEWOBJ
  path = pickles.write_legacy(tmp_path / 'a.pt', _checkpoint(made))
  with state_dicts.open_state_dict(path) as state:
    assert state.unwrapped.endswith("ignored 'hparams' (an object of 'a.b.C').")


def test_a_dict_beside_the_model_may_have_keys_of_plain_values(tmp_path):
  items = pickles.numbers([1, 2]) + pickles.text('a')
  items += pickle.NONE + pickles.text('b')
  items += pickle.BINFLOAT + struct.pack('>d', 1.5) + pickles.text('c')
  value = pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
  path = pickles.write(tmp_path / 'a.pt', _checkpoint(value))
  expected = {(1, 2): 'a', None: 'b', 1.5: 'c'}
  assert pickles.read(path)['hparams'] == expected


def test_attributes_of_state_dicts_are_not_read(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  state = pickles.name('collections', 'OrderedDict') + pickles.EMPTY
  state += pickles.text('weight') + pickles.tensor() + pickle.SETITEM
  path = pickles.write(
      tmp_path / 'a.pt', pickles.whole(state + COMMAND + pickle.BUILD)
  )
  with state_dicts.open_state_dict(path) as found:
    assert found.shapes == {'weight': (4,)} and not found.unwrapped
  assert os.listdir(tmp_path) == ['a.pt']


def test_a_dict_may_name_any_class_of_its_defaults(tmp_path):
  body = pickles.name('collections', 'defaultdict')
  body += pickles.together(pickles.name('a.b', 'C')) + pickle.REDUCE
  body += pickles.text('a') + pickles.number(1) + pickle.SETITEM
  path = pickles.write(tmp_path / 'a.pt', pickles.whole(body))
  assert pickles.read(path) == {'a': 1}
