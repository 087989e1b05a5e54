"""Networks of metrics compute in float32, whatever the defaults of JAX are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import clip
from rq_jax.models import efficientnet
from rq_jax.models import inception
from rq_jax.models import resnet
from rq_jax.models import vgg

TINY_CLIP = clip.CLIP(image_layers=1, text_layers=1)
NETWORKS = {
    'inception': (inception.InceptionV3(), 299),
    'vgg16': (vgg.VGG16(), 224),
    'resnet': (resnet.ResNet(50), 224),
    'efficientnet_lite0': (efficientnet.EfficientNetLite0(), 224),
    'clip': (TINY_CLIP, 224),
}


def inputs(name):
  module, size = NETWORKS[name]
  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return clip.inputs(module) if name == 'clip' else (image,)


@pytest.mark.parametrize('name', NETWORKS)
def test_all_numbers_are_float32_if_jax_has_numbers_of_64_bits(name):
  module, _ = NETWORKS[name]
  with jax.enable_x64(True):
    made = jax.eval_shape(
        module.init_with_output, jax.random.key(0), *inputs(name)
    )
  assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {np.dtype('f4')}


@pytest.mark.parametrize('name', ['inception', 'clip'])
def test_no_factor_is_rounded_on_accelerators(name):
  module, _ = NETWORKS[name]
  variables = jax.eval_shape(module.init, jax.random.key(0), *inputs(name))
  text = jax.jit(module.apply).lower(variables, *inputs(name)).as_text()
  products = [
      line
      for line in text.splitlines()
      if 'stablehlo.dot' in line or 'stablehlo.conv' in line
      # Such as `convert`, which is none.
      if 'stablehlo.convert' not in line
  ]
  assert len(products) > 10
  assert [line for line in products if 'HIGHEST' not in line] == []
