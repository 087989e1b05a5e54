"""Tests of networks that metrics use, in their folders."""

import json
import shutil

import jax
import numpy as np
import pytest

from rq_jax.checkpoints import networks

SOURCES = ({'file': 'net.pth', 'sha256': '0' * 64},)


@pytest.fixture
def folder(tmp_path):
  variables = {'params': {'kernel': np.arange(6, dtype=np.float32)}}
  networks.write(
      tmp_path, 'resnet', variables, sources=SOURCES, fields={'depth': 18}
  )
  return tmp_path


def abstract():
  return {'params': {'kernel': jax.ShapeDtypeStruct((6,), np.float32)}}


def test_a_network_comes_back_with_its_description(folder):
  described = networks.describe(folder, kinds=['resnet'], flag='--classifier')
  variables = networks.restore(folder, described, abstract())
  np.testing.assert_array_equal(
      variables['params']['kernel'], np.arange(6, dtype=np.float32)
  )
  assert described.fields == {'depth': 18}
  assert described.sources == SOURCES


def test_another_kind_is_refused(folder):
  with pytest.raises(
      ValueError, match=r'--inception=.* "resnet".* --from=inception'
  ):
    networks.describe(folder, kinds=['inception'], flag='--inception')


def test_a_folder_without_a_network_is_refused(tmp_path):
  with pytest.raises(ValueError, match='--classifier=.* holds no network.json'):
    networks.describe(tmp_path, kinds=['resnet'], flag='--classifier')


def test_a_description_with_missing_entries_is_refused(folder):
  (folder / 'network.json').write_text('{"kind": "resnet"}')
  with pytest.raises(ValueError, match='must have the entries .* has kind'):
    networks.describe(folder, kinds=['resnet'], flag='--classifier')


def test_changed_descriptions_are_found(folder):
  file = folder / 'network.json'
  raw = json.loads(file.read_text())
  file.write_text(json.dumps(raw | {'fingerprint': 'f' * 16}))
  described = networks.describe(folder, kinds=['resnet'], flag='--classifier')
  with pytest.raises(ValueError, match='network.json has changed'):
    networks.restore(folder, described, abstract())
  # An older version wrote no manifest.
  step = folder / 'checkpoints' / '0'
  shutil.rmtree(step / 'manifest')
  (step / 'meta' / 'metadata').write_text('{}')
  with pytest.raises(ValueError, match='Convert it again'):
    networks.restore(folder, described, abstract())
