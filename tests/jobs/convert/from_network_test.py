"""Networks of metrics are converted from the files of their authors."""

import dataclasses
import hashlib

import flax.linen as nn
import jax
import numpy as np
import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import networks
from rq_jax.conversion import inception_tables
from rq_jax.conversion import layouts
from rq_jax.conversion import mapping
from rq_jax.conversion.tables import Row
from rq_jax.conversion.torch_format import writing
from rq_jax.jobs.convert import from_network
from rq_jax.jobs.convert import network_table
from rq_jax.models import build
from tests import official
from tests.conversion import graphs

TINY_IMAGE = jax.ShapeDtypeStruct((1, 2), np.float32)
TOKENS = jax.ShapeDtypeStruct((1, 3), np.int32)


class Tiny(nn.Module):
  """A dense layer and an embedding."""

  width: int

  @nn.compact
  def __call__(self, image, tokens):
    embedded = nn.Embed(4, self.width, name='embed')(tokens)
    return {'sum': nn.Dense(self.width, name='fc')(image)[:, None] + embedded}


TINY = network_table.Network(
    title='the tiny network',
    source='tiny.pth of its authors',
    build=lambda shapes: (
        Tiny(shapes['fc.bias'][0]),
        {'width': shapes['fc.bias'][0]},
    ),
    inputs=(TINY_IMAGE, TOKENS),
    rows=lambda ours, theirs: [
        Row(('params/fc/kernel',), ('fc.weight',), layouts.DENSE),
        Row(('params/fc/bias',), ('fc.bias',), layouts.SAME),
        Row(('params/embed/embedding',), ('embed.weight',), layouts.SAME),
    ],
)


@pytest.fixture
def weights():
  rng = np.random.default_rng(0)
  shapes = {'fc.weight': (5, 2), 'fc.bias': (5,), 'embed.weight': (4, 5)}
  drawn = {name: rng.normal(size=s).astype('f4') for name, s in shapes.items()}
  return drawn | {'bn.num_batches_tracked': np.array(7)}


@pytest.fixture
def convert(tmp_path, monkeypatch):
  """Converts arrays with the table of the tiny network; returns the folder."""
  monkeypatch.setitem(network_table.NETWORKS, 'tiny', TINY)

  def run(arrays):
    writing.write(tmp_path / 'tiny.pth', arrays)
    src, dst = str(tmp_path / 'tiny.pth'), str(tmp_path / 'dst')
    from_network.convert('tiny', src, dst)
    return dst

  return run


def restored(path, kind, module, *inputs):
  found = networks.describe(path, kinds=[kind], flag='--x')
  abstract = build.network_variables(module, *inputs)
  return found, networks.restore(path, found, abstract)['params']


def test_a_network_is_stored_with_its_fields_and_its_source(
    convert, weights, tmp_path, capsys
):
  found, params = restored(
      convert(weights), 'tiny', Tiny(5), TINY_IMAGE, TOKENS
  )
  np.testing.assert_array_equal(params['fc']['kernel'], weights['fc.weight'].T)
  np.testing.assert_array_equal(params['fc']['bias'], weights['fc.bias'])
  embedding = params['embed']['embedding']
  np.testing.assert_array_equal(embedding, weights['embed.weight'])
  content = (tmp_path / 'tiny.pth').read_bytes()
  digest = hashlib.sha256(content).hexdigest()
  assert found.fields == {'width': 5}
  assert found.sources == ({'file': 'tiny.pth', 'sha256': digest},)
  said = capsys.readouterr().out
  assert f'the tiny network {found.fingerprint}: every array equals' in said
  assert f'SHA-256 {digest}, which is not that of a published' in said
  assert 'rq_jax knows (none)' in said and f'Wrote {tmp_path}/dst' in said


def test_a_published_file_is_recognised(
    convert, weights, tmp_path, monkeypatch, capsys
):
  writing.write(tmp_path / 'tiny.pth', weights)
  digest = hashlib.sha256((tmp_path / 'tiny.pth').read_bytes()).hexdigest()
  known = dataclasses.replace(TINY, published={digest: 'tiny-1.0'})
  monkeypatch.setitem(network_table.NETWORKS, 'tiny', known)
  convert(weights)
  said = capsys.readouterr().out
  assert f'The source is tiny-1.0 (SHA-256 {digest}).' in said


def test_what_was_taken_from_a_wrapper_is_said(convert, weights, capsys):
  convert({'epoch': 3, 'state_dict': weights})
  assert "Took the arrays in 'state_dict'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'fc.weight': np.zeros((4, 2), 'f4')}, r'is \[4, 2\], should be \[5'),
        ({'more': np.zeros(2, 'f4')}, '1 unexpected: more'),
        ({'fc.weight': np.zeros((5, 2), 'f8')}, 'is float64, which does not'),
        ({'fc.bias': np.full(5, np.nan, 'f4')}, 'outputs for a fixed input'),
        ({'embed.weight': np.full((4, 5), np.inf, 'f4')}, 'fixed input'),
        # Finite, but the products with -1 and 1 have a sum that is not.
        ({'fc.weight': np.full((5, 2), [3e38, -3e38], 'f4')}, 'fixed input'),
    ],
)
def test_other_weights_are_refused_and_leave_nothing(
    changed, message, convert, weights, tmp_path
):
  with pytest.raises(ValueError, match=message):
    convert(weights | changed)
  assert [path.name for path in tmp_path.iterdir()] == ['tiny.pth']


def test_the_error_names_the_file_that_is_needed(convert, weights):
  del weights['fc.weight']
  with pytest.raises(ValueError) as error:
    convert(weights)
  assert str(error.value).endswith(
      'does not hold the weights of the tiny network: 1 missing: fc.weight.'
      ' Give tiny.pth of its authors.'
  )


def test_an_array_that_changed_on_the_disk_is_noticed(
    convert, weights, tmp_path, monkeypatch
):
  def restore(path, found, abstract):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, 'f4'), abstract)

  monkeypatch.setattr(networks, 'restore', restore)
  with pytest.raises(
      ValueError, match='params/fc/kernel differs from .*tiny.pth'
  ):
    convert(weights)
  assert not (tmp_path / 'dst').exists()


def test_the_source_must_exist_and_the_target_must_not(
    convert, weights, tmp_path
):
  with pytest.raises(ValueError, match='nowhere does not exist'):
    from_network.convert('tiny', str(tmp_path / 'nowhere'), str(tmp_path / 'x'))
  convert(weights)
  with pytest.raises(ValueError, match='exists already'):
    convert(weights)


@pytest.mark.slow
def test_both_files_of_the_fid_network_give_the_same_variables(
    tmp_path, monkeypatch, capsys
):
  # It takes seconds, and tests/models/inception_test.py runs the network.
  monkeypatch.setattr(from_network, '_run', lambda *_: None)
  state = official.drawn_weights('inception')
  expected = official.inception_variables(state)
  flat = mapping.flatten(expected)
  rows = inception_tables.rows(flat, {'softmax/biases': ()})
  graph = {row.theirs[0]: flat[row.ours[0]] for row in rows}
  writing.write(tmp_path / 'fid.pth', state)
  (tmp_path / 'graph.pb').write_bytes(graphs.graph(graph))
  for name in ('fid.pth', 'graph.pb'):
    dst = str(tmp_path / f'{name}-dst')
    from_network.convert('inception', str(tmp_path / name), dst)
    found = networks.describe(dst, kinds=['inception'], flag='--x')
    assert found.sources[0]['file'] == name
    # A hash of all names, shapes and values.
    assert found.fingerprint == inference_copy.fingerprint(expected)
  assert 'pt_inception-2015-12-05 of pytorch-fid' in capsys.readouterr().out


def test_weights_of_another_network_are_refused(tmp_path):
  writing.write(tmp_path / 'x.pth', {'conv1.weight': np.zeros(1, 'f4')})
  with pytest.raises(ValueError, match='472 missing: .*Give pt_inception'):
    from_network.convert(
        'inception', str(tmp_path / 'x.pth'), str(tmp_path / 'dst')
    )
