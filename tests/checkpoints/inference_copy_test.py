"""Inference copies: written whole or not at all, and their fingerprints."""

import hashlib
import re
import shutil

import chex
import flax
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.models import codebook
from tests import states


def _variables(seed=0):
  keys = jax.random.split(jax.random.key(seed), 2)
  return {
      'params': {'kernel': jax.random.normal(keys[0], (16, 8))},
      'codebook': {'shared': codebook.init(keys[1], 8, 4)},
  }


def test_an_inference_copy_holds_config_variables_and_fingerprint(tmp_path):
  path = tmp_path / 'new' / 'copy'
  inference_copy.export(path, states.config(), _variables())
  assert stored.read_config(path, stage=1) == states.config()
  variables, found = stored.restore_variables(path, states.shapes(_variables()))
  chex.assert_trees_all_equal(variables, _variables())
  assert found == f'parameters from {path}'

  fingerprint = inference_copy.fingerprint(_variables())
  assert inference_copy.fingerprint(variables) == fingerprint
  inference_copy.check_fingerprint(path, fingerprint)
  with pytest.raises(ValueError, match=f'fingerprint 0123.*{fingerprint}'):
    inference_copy.check_fingerprint(path, '0123')


def test_an_export_replaces_what_is_there_and_what_was_left_behind(tmp_path):
  path, partial = tmp_path / 'copy', tmp_path / 'copy.partial'
  inference_copy.export(path, states.config(), _variables())
  shutil.copytree(path, partial)
  (partial / 'leftover').write_text('')
  inference_copy.export(path, states.config(embed_dim=32), _variables(seed=1))
  assert [p.name for p in tmp_path.iterdir()] == ['copy']
  assert not (path / 'leftover').exists()
  assert stored.read_config(path).model.embed_dim == 32
  fingerprint = inference_copy.fingerprint(_variables(seed=1))
  inference_copy.check_fingerprint(path, fingerprint)


def test_an_export_that_fails_leaves_the_old_copy(tmp_path, monkeypatch):
  path = tmp_path / 'copy'
  inference_copy.export(path, states.config(), _variables())

  def fail(*_):
    raise OSError('disk full')

  monkeypatch.setattr(inference_copy.ocp.Checkpointer, 'save', fail)
  with pytest.raises(OSError, match='disk full'):
    inference_copy.export(path, states.config(), _variables(seed=1))
  inference_copy.check_fingerprint(
      path, inference_copy.fingerprint(_variables())
  )


def test_a_fingerprint_tells_contents_not_places():
  tree = {
      'params': {'a': np.arange(8.0, dtype='f4'), 'b': np.ones((2, 3), 'f4')}
  }
  name = inference_copy.fingerprint(tree)
  assert re.fullmatch('[0-9a-f]{16}', name)
  rows = NamedSharding(states.mesh('8'), PartitionSpec('fsdp'))
  same = [
      {'params': {'b': tree['params']['b'], 'a': tree['params']['a']}},
      jax.tree.map(jnp.asarray, tree),
      {'params': tree['params'] | {'a': jax.device_put(np.arange(8.0), rows)}},
      flax.core.freeze(tree),
  ]
  assert {inference_copy.fingerprint(other) for other in same} == {name}

  changed = np.arange(8.0, dtype='f4')
  changed[5] = np.nextafter(changed[5], 9)
  a, b = tree['params']['a'], tree['params']['b']
  others = [
      {'params': {'a': changed, 'b': b}},
      {'params': {'a': a, 'c': b}},
      {'params': {'a': a, 'b': b.reshape(3, 2)}},
      {'params': {'a': a}},
      {'codebook': tree['params']},
  ]
  names = {inference_copy.fingerprint(other) for other in others}
  assert len(names | {name}) == 6


def test_a_fingerprint_is_the_sha256_of_names_shapes_and_values():
  tree = {'params': {'b': np.ones((2, 1), 'f4'), 'a': np.zeros(3, 'f4')}}
  expected = hashlib.sha256(
      b"['params']['a'] (3,) "
      + bytes(12)
      + b"['params']['b'] (2, 1) "
      + np.float32([1, 1]).tobytes()
  ).hexdigest()
  assert inference_copy.fingerprint(tree) == expected[:16]


def test_a_discriminator_that_comes_along_does_not_change_the_name(tmp_path):
  more = _variables() | {'disc_params': {'kernel': np.ones(3, 'f4')}}
  name = inference_copy.fingerprint(_variables())
  assert inference_copy.fingerprint(more) == name
  inference_copy.export(tmp_path / 'copy', states.config(), more)
  inference_copy.check_fingerprint(tmp_path / 'copy', name)
  assert stored.has_collection(tmp_path / 'copy', 'disc_params')


def test_a_network_without_an_experiment_has_no_config(tmp_path):
  inference_copy.export(tmp_path / 'copy', None, _variables())
  assert [p.name for p in (tmp_path / 'copy').iterdir()] == ['checkpoints']
