"""One state dict is chosen by rules that are said, or none is."""

import numpy as np
import pytest

from rq_jax.conversion import safetensors_format
from rq_jax.conversion import unwrapping
from rq_jax.conversion.torch_format import calls

A, B = (
    safetensors_format.StoredTensor(np.dtype('f4'), (n,), 0) for n in (1, 2)
)
STATE = {'conv.weight': A, 'conv.bias': B}
OTHER = {'conv.weight': B}
UNREAD = calls.Opaque('omegaconf.listconfig.ListConfig')
OPTIMIZER = {'state': {0: {'exp_avg': A}}, 'param_groups': [{'lr': 0.1}]}


def under(prefix, state=STATE):
  return {prefix + name: tensor for name, tensor in state.items()}


# By name: a tree that holds `STATE`, and what is said of it.
WRAPPED = {
    'nothing around it': (STATE, ''),
    'state_dict': ({'state_dict': STATE}, "Took the arrays in 'state_dict'."),
    'model': (
        {'model': STATE, 'optimizer': OPTIMIZER, 'epoch': 3},
        "Took the arrays in 'model'; ignored 'optimizer', 'epoch'.",
    ),
    'DataParallel': (
        under('module.'),
        "Removed 'module.' from their names.",
    ),
    'DataParallel, compiled': (
        {'model_state_dict': under('module._orig_mod.')},
        "Took the arrays in 'model_state_dict'; removed 'module._orig_mod.'"
        ' from their names.',
    ),
    'Lightning': (
        {
            'pytorch-lightning_version': '2.0.0',
            'state_dict': under('model.') | {'loss.weight': B},
            'hyper_parameters': {'betas': UNREAD},
            'optimizer_states': [OPTIMIZER],
        },
        "Took the arrays in 'state_dict'; removed 'model.' from their names;"
        " ignored 'pytorch-lightning_version', 'hyper_parameters',"
        " 'optimizer_states', 'loss.weight'.",
    ),
    'Lightning without the prefix': (
        {'pytorch-lightning_version': '2.0.0', 'state_dict': STATE},
        "Took the arrays in 'state_dict'; ignored 'pytorch-lightning_version'.",
    ),
    'averages beside it': (
        {'state_dict_ema': OTHER, 'state_dict': STATE},
        "Took the arrays in 'state_dict'; ignored 'state_dict_ema'.",
    ),
    'averages under a usual name': (
        {'model_ema': OTHER, 'ema': {'state_dict': OTHER}, 'weights': STATE},
        "Took the arrays in 'weights'; ignored 'model_ema', 'ema'.",
    ),
    'averages only': (
        {'ema_state_dict': STATE},
        "Took the arrays in 'ema_state_dict'.",
    ),
    'averaged model of PyTorch': (
        {'n_averaged': B} | under('module.'),
        "Removed 'module.' from their names; ignored 'n_averaged'.",
    ),
    'another part without a usual name': (
        {'state_dict': STATE, 'discriminator': OTHER, 'rng': A},
        "Took the arrays in 'state_dict'; ignored 'discriminator', 'rng'.",
    ),
    'the only part with tensors': (
        {'generator': STATE, 'optimizer': OPTIMIZER, 'log': {'a': [1]}},
        "Took the arrays in 'generator'; ignored 'optimizer', 'log'.",
    ),
    'nested twice': (
        {'state_dict': {'model': STATE, 'step': 1}, 'config': UNREAD},
        "Took the arrays in 'state_dict' -> 'model'; ignored 'config' (an"
        " object of 'omegaconf.listconfig.ListConfig'), 'step'.",
    ),
    'objects among its tensors': (
        STATE | {'extra_state': UNREAD, 'steps': 3},
        "Ignored 'extra_state' (an object of"
        " 'omegaconf.listconfig.ListConfig'), 'steps'.",
    ),
    'tensors without a name': (
        STATE | {0: A, (1, 2): B},
        "Ignored '0', '(1, 2)'.",
    ),
    'many other values': (
        STATE | {f'value{i}': i for i in range(14)},
        'Ignored '
        + ', '.join(f"'value{i}'" for i in range(12))
        + ' and 2 more.',
    ),
}


@pytest.mark.parametrize('name', WRAPPED)
def test_the_state_dict_is_found_and_what_was_left_out_is_said(name):
  tree, sentence = WRAPPED[name]
  found = unwrapping.unwrap(tree, 'a.pt')
  assert found.tensors == STATE
  assert found.sentence() == sentence


@pytest.mark.parametrize(
    'name', ['ema', 'EMA-model', 'averaged_model', 'model-shadow']
)
def test_averages_are_recognised_by_a_word_of_their_name(name):
  tree = {name: OTHER, 'weights': STATE}
  assert unwrapping.unwrap(tree, 'a.pt').tensors == STATE
  assert unwrapping.unwrap(tree, 'a.pt', averages=True).tensors == OTHER


@pytest.mark.parametrize(
    'name', ['state_dict', 'model_state_dict', 'model', 'module', 'net']
)
def test_a_part_with_a_usual_name_comes_before_others(name):
  tree = {'discriminator': OTHER, name: STATE}
  assert unwrapping.unwrap(tree, 'a.pt').tensors == STATE


def test_a_counter_alone_is_a_tensor():
  tree = {'n_averaged': A}
  assert unwrapping.unwrap(tree, 'a.pt').tensors == tree


def test_models_are_looked_for_in_four_levels():
  tree = STATE
  for _ in range(4):
    tree = {'weight': A, 'model': tree}
  assert unwrapping.unwrap(tree, 'a.pt').tensors == STATE
  with pytest.raises(ValueError, match='must hold a state dict'):
    unwrapping.unwrap({'weight': A, 'model': tree}, 'a.pt')


def test_only_lightning_marks_the_model_by_a_prefix_of_some_names():
  tree = under('model.') | {'head.weight': B}
  assert unwrapping.unwrap(tree, 'a.pt').tensors == tree


@pytest.mark.parametrize(
    'tree',
    [
        {'state_dict': OTHER, 'state_dict_ema': STATE},
        {'model': {'ema': STATE, 'state_dict': OTHER}},
        {'model_ema': {'state_dict': under('module.')}, 'model': OTHER},
    ],
)
def test_averages_are_found_on_request(tree):
  assert unwrapping.unwrap(tree, 'a.pt', averages=True).tensors == STATE


@pytest.mark.parametrize('tree', [STATE, {'model': STATE, 'cinema': OTHER}])
def test_averages_that_are_not_there_are_missed(tree):
  message = f'no averaged parameters; it holds {sorted(tree)}. Leave out --ema'
  message = message.replace('[', '').replace(']', '')
  with pytest.raises(ValueError, match=message):
    unwrapping.unwrap(tree, 'a.pt', averages=True)


def test_a_long_name_does_not_fill_the_error():
  tree = {'model': STATE, 'x\n' * 1000: 1}
  with pytest.raises(ValueError, match=r"holds 'model', 'x\\nx.*'") as refusal:
    unwrapping.unwrap(tree, 'a.pt', averages=True)
  assert len(str(refusal.value)) < 300


DEEP = {'state_dict': {'state_dict': {'state_dict': {'state_dict': {}}}}}


@pytest.mark.parametrize(
    ('tree', 'message'),
    [
        (
            {'model': STATE, 'state_dict': OTHER},
            "models: 'model', 'state_dict'",
        ),
        ({'net_g': STATE, 'net_d': OTHER}, "models: 'net_g', 'net_d'. Save"),
        ({'model': {'a': STATE, 'b': STATE}}, "holds 'model'. Save"),
        (
            {'model': {'net': STATE, 'state_dict': STATE}},
            "-> 'model' holds several models: 'net', 'state_dict'",
        ),
        ({'ema': STATE, 'model_ema': STATE}, "models: 'ema', 'model_ema'"),
        ([STATE], 'must hold a state dict, but holds a list'),
        ({}, 'must hold a state dict, but holds nothing'),
        ({'optimizer': OPTIMIZER, 'epoch': 1}, "holds 'optimizer', 'epoch'."),
        ({'state_dict': 3}, "must hold a state dict, but holds 'state_dict'"),
        ({'model': UNREAD}, "'model' \\(an object of 'omegaconf.listconfig"),
        ({0: A}, "must hold a state dict, but holds '0'"),
        (DEEP, 'must hold a state dict'),
    ],
)
def test_what_holds_no_model_or_several_is_refused(tree, message):
  with pytest.raises(ValueError, match=message) as refusal:
    unwrapping.unwrap(tree, 'a.pt')
  assert str(refusal.value).startswith('a.pt ')
