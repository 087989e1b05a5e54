"""Programs compiled for real TPUs and GPUs, where their compilers are."""

import importlib.util
import os
import shutil

import pytest

from rq_jax import config as config_lib
from rq_jax.cli import config_flag
from rq_jax.jobs.compile import job
from rq_jax.jobs.compile import programs
from rq_jax.sampling import Sampling

# The whole model has 42 spatial layers and 6 depth layers. The number of
# kernels grows linearly with the layers.
TWO_LAYERS = (
    ('model.spatial_layers', '2'),
    ('model.depth_layers', '1'),
)
LARGE = 'configs/imagenet256/rqtransformer.py:1.4b'


def _missing(module):
  try:
    return importlib.util.find_spec(module) is None
  except ImportError:
    return True


needs_tpu = pytest.mark.skipif(
    _missing('libtpu'), reason='The extra aot is not installed: no libtpu.'
)
needs_gpu = pytest.mark.skipif(
    _missing('jax_plugins.xla_cuda13')
    or not (shutil.which('ptxas') or not _missing('nvidia.cu13')),
    reason='The extra aot is not installed: no compiler of GPUs.',
)


@pytest.fixture(autouse=True)
def _environment():
  """Undoes what a target sets for its compiler, which reads the real one."""
  before = dict(os.environ)
  yield
  for name in set(os.environ) - set(before):
    del os.environ[name]
  os.environ.update(before)


def described(path, *, what, target, changes=(), **options):
  raw = config_flag.read(path, tuple(changes))
  if 'tokenizer' in raw:
    raw['tokenizer'] = raw['tokenizer'] or 'unused'
  return job.describe(
      config_lib.check(raw, with_data=False),
      what=what,
      target=target,
      options=programs.Options(path=path, **options),
  )


@needs_tpu
@pytest.mark.slow
def test_the_digits_train_on_eight_tpus():
  record = described(
      'configs/digits/rqtransformer.py', what='train', target='v5e:2x4'
  )
  assert record['device'] == 'TPU v5 lite'
  assert record['devices'] == 8
  # Two loops over four and two layers, forward and backward.
  assert sorted(loop['passes'] for loop in record['loops']) == [2, 2, 4, 4]
  assert {row['axes'] for row in record['collectives']} == {'data'}
  assert record['memory']['total'] < 0.01 * record['memory']['chip']
  assert 1e9 < record['kernels']['products']['flops'] < 4e9


@needs_gpu
@pytest.mark.slow
def test_on_a_gpu_kernels_of_convolutions_are_copied_twice_in_a_step():
  record = described('configs/digits/rqvae.py', what='train', target='h200')
  # 34 convolutions of 3x3 pixels, whose weights and gradients change their
  # order, and 12 copies of other arrays. If the whole update and 1x1
  # convolutions had the order of the library for convolutions, it would be 153.
  assert record['kernels']['weight gradients']['executions'] == 34
  assert record['kernels']['copies']['executions'] <= 2 * 34 + 12


def two_layers(**options):
  """Drawing with two layers of the 1.4B model on an H200, in bfloat16."""
  return described(
      LARGE,
      what='sample',
      target='h200',
      changes=TWO_LAYERS,
      dtype='bfloat16',
      **options,
  )


@needs_gpu
@pytest.mark.slow
def test_two_layers_of_the_large_model_sample_on_an_h200():
  record = two_layers(batch=64)
  assert record['device'] == 'NVIDIA H200'
  (loop,) = record['loops']
  assert loop['passes'] == 64
  # At most what it was when this was first counted.
  assert 40 < loop['kernels'] <= 126
  # At least the weights: 2 layers, 4 x 1 layers and 4 classifiers in bfloat16.
  weights = 2 * (6 * 12 * 1536**2 + 4 * 1536 * 16384)
  assert weights < loop['bytes'] < 3.2 * weights
  flops = 2 * 64 * 64 * weights / 2
  products = record['kernels']['products']['flops']
  assert products == pytest.approx(flops, rel=0.01)
  assert not record['collectives']
  assert record['estimate']['total'] > 64 * weights / 4.3e12


@needs_gpu
@pytest.mark.slow
def test_with_int8_weights_the_loop_reads_half_of_the_bytes():
  record = two_layers(batch=8, weights='int8')
  (loop,) = record['loops']
  weights = 6 * 12 * 1536**2 + 4 * 1536 * 16384  # Bytes of a position.
  # No copy in bfloat16 is made before the loop and read in it.
  assert weights < loop['bytes'] < 1.5 * weights
  assert record['memory']['temporaries'] < weights / 2


@needs_gpu
@pytest.mark.slow
def test_with_pallas_two_layers_are_half_as_many_kernels():
  record = two_layers(batch=64, sampling=Sampling(top_p=0.92), kernels='pallas')
  (loop,) = record['loops']
  # Four a layer, a classifier and a draw for each depth, and the inputs.
  assert 4 * (2 + 4) + 2 * 4 < loop['kernels'] <= 48
  weights = 2 * (6 * 12 * 1536**2 + 4 * 1536 * 16384)
  assert weights < loop['bytes'] < 1.2 * weights
  found = record['kernels']
  assert found['draws']['executions'] == 64 * 4
  assert found['attention']['executions'] == 64 * 6
  flops = found['products']['flops'] + found['attention']['flops']
  # Two layers attend to 32.5 positions on average.
  attention = 2 * 2 * 2 * 1536 * 65 / 2
  assert flops == pytest.approx(64 * 64 * (weights + attention), rel=0.01)
  # The cache exists once: 64 x 64 positions of two layers.
  assert record['memory']['temporaries'] < 2.5 * 64 * 64 * 2 * 2 * 1536 * 2
