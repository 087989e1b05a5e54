import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import upsampling

RNG = np.random.default_rng(0)


def drawn(*shape):
  return RNG.normal(size=shape).astype(np.float32)


def reference(x, kernel):
  """The convolution, pixel by pixel, in float64."""
  x = np.float64(x).repeat(2, axis=1).repeat(2, axis=2)
  _, height, width, _ = x.shape
  x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  parts = [
      x[:, i : i + height, j : j + width] @ np.float64(kernel)[i, j]
      for i in range(3)
      for j in range(3)
  ]
  return sum(parts)


def pulled(form):
  return jax.jit(lambda x, k, g: (form(x, k), *jax.vjp(form, x, k)[1](g)))


@pytest.mark.parametrize('size', [(1, 1), (1, 3), (4, 5)])
def test_four_convolutions_are_the_one_of_the_doubled_map(size):
  x, kernel = drawn(2, *size, 3), drawn(3, 3, 3, 5)
  gradient = drawn(2, 2 * size[0], 2 * size[1], 5)
  found = pulled(upsampling.convolve)(x, kernel, gradient)
  np.testing.assert_allclose(found[0], reference(x, kernel), 1e-5, 1e-5)
  expected = pulled(upsampling.after_repeating)(x, kernel, gradient)
  for value, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(value, other, 1e-4, 1e-4)


def test_bfloat16_stays_bfloat16():
  x, kernel = (jnp.asarray(a, 'bfloat16') for a in (drawn(1, 2, 2, 3),) * 2)
  kernel = jnp.asarray(drawn(3, 3, 3, 4), 'bfloat16')
  out, of_x, of_kernel = pulled(upsampling.convolve)(
      x, kernel, jnp.ones((1, 4, 4, 4), 'bfloat16')
  )
  assert {out.dtype, of_x.dtype, of_kernel.dtype} == {jnp.dtype('bfloat16')}
  expected = reference(np.float32(x), np.float32(kernel))
  np.testing.assert_allclose(np.float32(out), expected, 0.05, 0.05)


@pytest.mark.parametrize(
    ('platform', 'width'), [('cpu', 5), ('tpu', 10), ('cuda', 10)]
)
def test_only_cpus_convolve_the_original_map(platform, width):
  x, kernel = drawn(2, 4, 5, 3), drawn(3, 3, 3, 3)
  traced = pulled(upsampling.convolve).trace(x, kernel, drawn(2, 8, 10, 3))
  text = traced.lower(lowering_platforms=(platform,)).as_text()
  convolved = [x for x in text.splitlines() if 'stablehlo.convolution' in x]
  assert len(convolved) == (12 if platform == 'cpu' else 3)
  assert all(f'x{width}x' in line for line in convolved)


def test_a_batch_over_devices_only_sums_the_gradient_of_the_kernel():
  mesh = partitioning.make_mesh(dict(data=8))
  split = NamedSharding(mesh, PartitionSpec('data'))
  whole = NamedSharding(mesh, PartitionSpec())
  arguments = drawn(8, 2, 3, 4), drawn(3, 3, 4, 4), drawn(8, 4, 6, 4)
  placed = [
      jax.device_put(a, where)
      for a, where in zip(arguments, (split, whole, split), strict=True)
  ]
  step = jax.jit(
      pulled(upsampling.convolve), out_shardings=(split, split, whole)
  )
  for value, other in zip(
      step(*placed), pulled(upsampling.convolve)(*arguments), strict=True
  ):
    np.testing.assert_allclose(value, other, 1e-4, 1e-4)
  text = step.lower(*placed).compile().as_text()
  assert 'all-reduce' in text
  for words in ('all-gather', 'all-to-all', 'collective-permute'):
    assert words not in text
