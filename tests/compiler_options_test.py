"""Options of XLA: those of a platform, and where JAX accepts them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import compiler_options
from tests import ynnpack

_YNN = 'xla_cpu_experimental_ynn_fusion_type'
_PRODUCTS = {_YNN: 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'}
_PRODUCTS_AND_SUMS = {
    _YNN: 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE'
}
_LITTLE = {'xla_backend_optimization_level': 1}
_UNSPLIT = {'xla_gpu_experimental_force_split_k': 1}


@pytest.mark.parametrize(
    'function,expected',
    [
        (compiler_options.convolutions, (_PRODUCTS_AND_SUMS, {}, {})),
        (compiler_options.few_rows, (_PRODUCTS, _UNSPLIT, {})),
        (compiler_options.run_once, (_LITTLE, {}, {})),
    ],
)
def test_each_platform_has_its_options(function, expected):
  assert tuple(map(function, ('cpu', 'gpu', 'tpu'))) == expected


@pytest.mark.parametrize(
    'lacking',
    [{'xla_gpu_experimental_no_such_option': 1}, {_YNN: 'NO_SUCH_LIBRARY'}],
)
def test_options_that_xla_lacks_are_left_out_with_one_warning(lacking, caplog):
  compiler_options._warn_of.cache_clear()
  assert compiler_options._known(_UNSPLIT) == _UNSPLIT
  assert not caplog.text
  for _ in range(2):
    assert compiler_options._known(lacking) == {}
  (message,) = caplog.messages
  assert message == (
      f'This version of XLA does not support {next(iter(lacking))}, which'
      ' rq_jax sets to make programs faster. They run without it.'
  )


def test_other_errors_of_the_compiler_are_raised(monkeypatch, caplog):
  wrong = {'xla_gpu_experimental_force_split_k': 'many'}
  with pytest.raises(jax.errors.JaxRuntimeError, match='not a valid int32'):
    compiler_options._known(wrong)

  def compile(*_, **__):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory.')

  monkeypatch.setattr(jax.stages.Lowered, 'compile', compile)
  with pytest.raises(jax.errors.JaxRuntimeError, match='Out of memory'):
    compiler_options.few_rows.__wrapped__('cpu')
  assert not caplog.text


def test_convolutions_are_left_to_eigen_but_not_products_and_sums():
  rng = np.random.default_rng(0)
  # By default, YNNPACK computes convolutions of at least 32 channels.
  x, kernel = rng.normal(size=(1, 8, 8, 32)), rng.normal(size=(3, 3, 32, 32))

  def convolve(x, kernel):
    return jax.lax.conv_general_dilated(
        *(x, kernel, (1, 1), 'SAME'),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )

  def calls(function, *args, options=compiler_options.convolutions):
    jitted = compiler_options.Jitted(function, options)
    args = [jnp.asarray(a, jnp.float32) for a in args]
    return ynnpack.calls(jitted.on('cpu').lower(*args).compile())

  assert calls(convolve, x, kernel, options=lambda _: {}) == {'convolution'}
  assert calls(convolve, x, kernel) == set()
  wide = rng.normal(size=(256, 256))
  assert calls(jnp.matmul, wide, wide) == {'dot'}
  assert calls(lambda x: jnp.sum(x, axis=0), wide) == {'reduce'}


@pytest.fixture
def double():
  return compiler_options.Jitted(
      lambda x, times: x * times,
      lambda platform: {'xla_cpu_enable_fast_math': False},
      static_argnames='times',
  )


def test_options_are_those_of_the_default_platform(double):
  platforms = []

  def options(platform):
    platforms.append(platform)
    return {'xla_cpu_enable_fast_math': False}

  jitted = compiler_options.Jitted(jnp.negative, options)
  assert platforms == []  # JAX may not be initialised yet.
  for _ in range(2):
    assert jitted(jnp.ones(())) == -1
  assert platforms == ['cpu']
  assert double(jnp.ones(()), times=2) == 2


def test_a_function_that_is_compiled_or_transformed_may_call_it(double):
  x = jnp.ones(())
  assert jax.jit(lambda x: double(x, times=3))(x) == 3
  assert jax.jit(lambda: double(np.float32(1), times=3))() == 3
  assert jax.grad(lambda x: double(x, times=5))(x) == 5
  np.testing.assert_array_equal(
      jax.vmap(lambda x: double(x, times=2))(jnp.arange(3.0)), [0, 2, 4]
  )
