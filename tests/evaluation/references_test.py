"""References in the files of every tool, and damaged ones."""

import dataclasses
import pickle
import zipfile

import numpy as np
import pytest

from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import reading
from rq_jax.evaluation import dialects
from rq_jax.evaluation import known
from rq_jax.evaluation import references
from tests import official

# As tests/fixtures/references/record.py draws them.
FEATURES = np.random.default_rng(0).normal(3, 1, (20, 6)).astype(np.float32)
MEAN = FEATURES.mean(axis=0, dtype=np.float64)
COVARIANCE = np.cov(FEATURES, rowvar=False)
IMAGES = np.arange(4 * 2 * 3 * 3, dtype=np.uint8).reshape(4, 2, 3, 3)
MOMENTS = {'mu': MEAN, 'sigma': COVARIANCE}
ADM = {
    **MOMENTS,
    'mu_s': MEAN[:4],
    'sigma_s': COVARIANCE[:4, :4],
    'arr_0': IMAGES,
}
CACHES = official.FIXTURES / 'references'


def saved(tmp_path, arrays, name='reference.npz'):
  """Path of an .npz file, as the tools write it."""
  np.savez_compressed(tmp_path / name, **arrays)
  return tmp_path / name


def assert_moments(found, *, rtol=0.0):
  np.testing.assert_allclose(found.mean, MEAN, rtol=rtol)
  np.testing.assert_allclose(found.covariance, COVARIANCE, rtol=rtol)
  assert found.mean.dtype == found.covariance.dtype == np.float64


def test_reads_references_of_adm_with_spatial_statistics_and_images(tmp_path):
  found = references.read(saved(tmp_path, ADM))
  assert_moments(found)
  np.testing.assert_array_equal(found.spatial_mean, MEAN[:4])
  np.testing.assert_array_equal(found.spatial_covariance, COVARIANCE[:4, :4])
  blocks = list(found.images.blocks(3))
  assert [len(block) for block in blocks] == [3, 1] and len(found.images) == 4
  np.testing.assert_array_equal(np.concatenate(blocks), IMAGES)
  assert found.description['layout'] == 'adm' == found.description['dialect']


def test_reads_images_without_statistics(tmp_path):
  found = references.read(saved(tmp_path, {'arr_0': IMAGES}))
  assert found.mean is None and found.images.shape == IMAGES.shape


def test_reads_references_of_pytorch_fid(tmp_path):
  found = references.read(saved(tmp_path, MOMENTS))
  assert_moments(found)
  said = found.description
  assert said['layout'] == 'pytorch-fid' and said['dialect'] is None
  assert said['sha256'] == known.sha256(tmp_path / 'reference.npz')
  assert found.count is None and found.features is None


@pytest.mark.parametrize(
    'name,dialect,network',
    [
        ('ffhq_clean_trainval_1024', 'clean-fid', 'inception'),
        ('cifar10_legacy_tensorflow_train_32', 'torch-fidelity', 'inception'),
        ('my_own_legacy_pytorch_custom_na', 'pytorch-fid', 'inception'),
        ('ffhq_clean_clip_vit_b_32_trainval70k_1024', None, 'clip'),
    ],
)
def test_names_of_clean_fid_say_the_dialect(tmp_path, name, dialect, network):
  said = references.read(saved(tmp_path, MOMENTS, f'{name}.npz')).description
  assert (said['dialect'], said['network']) == (dialect, network)
  assert said['layout'] == 'clean-fid'


def test_features_of_clean_fid_get_their_statistics(tmp_path):
  name = 'ffhq_clean_trainval_1024_kid.npz'
  found = references.read(saved(tmp_path, {'feats': FEATURES}, name))
  assert_moments(found, rtol=1e-12)
  np.testing.assert_array_equal(found.features, FEATURES)
  assert found.count == 20 and found.description['layout'] == 'clean-fid-kid'


@pytest.mark.parametrize('kind', ['stat-fid', 'features'])
def test_reads_caches_of_torch_fidelity(kind):
  """The tool averages in float32."""
  file = CACHES / f'digits-inception-v3-compat-{kind}-2048.pt'
  found = references.read(file)
  assert_moments(found, rtol=1e-6)
  assert (found.features is None) == (kind == 'stat-fid')
  said = found.description
  assert said['dialect'] == said['layout'] == 'torch-fidelity'
  assert said['network'] == 'inception'


def reference(**changes):
  values = {
      'mean': MEAN,
      'covariance': COVARIANCE,
      'count': 20,
      'description': {'dialect': 'rq', 'weights': 'abcd', 'sources': ['a']},
  }
  return references.Reference(**(values | changes))


def test_our_own_layout_keeps_all_but_the_images(tmp_path):
  path = tmp_path / 'ours.npz'
  written = reference(
      features=FEATURES,
      spatial_mean=MEAN[:4],
      spatial_covariance=COVARIANCE[:4, :4],
  )
  references.write(path, written)
  found = references.read(path)
  for field in dataclasses.fields(found):
    if field.name != 'description':
      np.testing.assert_array_equal(
          getattr(found, field.name), getattr(written, field.name)
      )
  for name, value in written.description.items():
    assert found.description[name] == value
  assert found.description['layout'] == 'rq_jax'
  first = path.read_bytes()
  references.write(path, found)
  assert path.read_bytes() == first
  # Other tools find what they need.
  np.testing.assert_array_equal(np.load(path)['sigma'], COVARIANCE)


@pytest.mark.parametrize(
    'layout,names',
    [
        ('adm', ['mu', 'sigma', 'mu_s', 'sigma_s', 'arr_0']),
        ('pytorch-fid', ['mu', 'sigma']),
        ('clean-fid', ['mu', 'sigma']),
        ('clean-fid-kid', ['feats']),
    ],
)
def test_writes_the_arrays_of_each_tool(tmp_path, layout, names):
  full = dataclasses.replace(
      references.read(saved(tmp_path, ADM)), features=FEATURES
  )
  references.write(tmp_path / 'out.npz', full, layout=layout)
  with np.load(tmp_path / 'out.npz') as found:
    assert list(found) == names
    for name in names:
      expected = FEATURES if name == 'feats' else ADM[name]
      np.testing.assert_array_equal(found[name], expected)


def test_writes_caches_of_torch_fidelity(tmp_path):
  """Python itself reads the pickle, in place of torch.load."""
  path = tmp_path / 'digits-inception-v3-compat-stat-fid-2048.pt'
  references.write(path, reference(), layout='torch-fidelity')
  assert_moments(references.read(path), rtol=1e-7)
  with zipfile.ZipFile(path) as archive:
    found = pickle.loads(archive.read('archive/data.pkl'))
  assert {name: str(value.dtype) for name, value in found.items()} == {
      'mu': 'float32',
      'sigma': 'float64',
  }


def test_a_layout_that_needs_more_is_refused(tmp_path):
  with pytest.raises(ValueError, match='adm.* needs mu_s, sigma_s, arr_0'):
    references.write(tmp_path / 'x.npz', reference(), layout='adm')
  with pytest.raises(ValueError, match="'npz' is unknown.*rq_jax"):
    references.write(tmp_path / 'x.npz', reference(), layout='npz')
  assert not list(tmp_path.iterdir())


def test_published_references_are_known_by_their_hash(tmp_path, monkeypatch):
  path = saved(tmp_path, MOMENTS)
  rq = dialects.DIALECTS['rq']
  (said,) = references.remarks(references.read(path), rq)
  assert 'is no published file that rq_jax knows' in said
  monkeypatch.setattr(known, 'sha256', lambda _: known.REFERENCES[0].sha256)
  found = references.read(path)
  assert found.description['known'].startswith('imagenet_256_train.npz')
  assert found.description['dialect'] == 'rq'
  assert not references.remarks(found, rq)


def test_a_reference_of_another_dialect_is_pointed_out(tmp_path):
  path = tmp_path / 'ours.npz'
  references.write(path, reference())
  found = references.read(path)
  assert not references.remarks(found, dialects.DIALECTS['pytorch-fid'])
  (said,) = references.remarks(found, dialects.DIALECTS['adm'])
  assert 'made in the dialect rq' in said
  assert 'Use --dialect=pytorch-fid or rq, or another' in said


def test_arrays_of_numpy_before_2_are_read(tmp_path):
  data = pickle.dumps(MOMENTS, protocol=2)
  assert b'numpy._core' in data
  path = tmp_path / 'old.pt'
  with zipfile.ZipFile(path, 'w') as archive:
    old = data.replace(b'numpy._core', b'numpy.core')
    archive.writestr('archive/data.pkl', old)
  assert_moments(references.read(path))


def test_in_models_arrays_stay_unread():
  file = CACHES / 'digits-inception-v3-compat-stat-fid-2048.pt'
  with reading.TorchFile(file) as stored:
    assert all(isinstance(v, calls.Opaque) for v in stored.tree.values())
