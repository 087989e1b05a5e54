"""The compiled programs are those of a run, and are counted right."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import partitioning
from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.compile import collectives
from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import job
from rq_jax.jobs.compile import kinds
from rq_jax.jobs.compile import programs
from rq_jax.jobs.plan import flops
from rq_jax.jobs.plan import problem as problem_lib
from rq_jax.models import build
from rq_jax.models import upsampling
from rq_jax.sampling import Sampling
from rq_jax.training import run
from rq_jax.training import stepping
from tests import tiny

ONE = tuple(jax.devices()[:1])
PRODUCTS = ('products', 'attention', 'convolutions', 'weight gradients')


@pytest.fixture(autouse=True)
def _fitting_tokenizer(monkeypatch):
  """The tiny tokenizer, because no recipe makes such codes."""
  monkeypatch.setattr(
      programs.stand_in,
      'find_tokenizer',
      lambda *_: tiny.stage1_config().model,
  )


def kernels_of(program):
  text = program.lowered.compile().as_text()
  return list(kinds.kernels(hlo.parse(text)))


def counted_flops(kernels):
  return sum(
      k.counted.flops * k.counted.times
      for k in kernels
      if k.counted.kind in PRODUCTS
  )


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'most'),
    # The compiler also sums biases and attends to 4 positions with products.
    [(tiny.stage2_config(), 1.15), (tiny.stage1_config(), 1.15)],
)
def test_a_training_step_has_the_operations_of_its_jaxpr(
    config, most, monkeypatch
):
  # On CPUs, upsampling has fewer products than are counted.
  monkeypatch.setattr(upsampling, 'in_four', upsampling.after_repeating)
  program = programs.train(config, ONE)
  problem = problem_lib.problem(config, program.mesh)
  state = partitioning.unbox(problem.state)
  expected = flops.count(problem.train_step, problem.task, state, problem.batch)
  found = counted_flops(kernels_of(program))
  # Places of a window beyond the edge of an image do not count.
  assert 0.85 * expected < found < most * expected
  assert program.images == tiny.BATCH
  missing = 'The tokenizer does not exist yet: its networks are not counted.'
  assert program.notes == ((missing,) if config.stage == 2 else ())


def test_a_sampler_has_the_products_of_all_positions():
  config = tiny.stage2_config()
  program = programs.sample(config, ONE, programs.Options(batch=6))
  with job.uncached():  # A cached program may have older names.
    kernels = kernels_of(program)
  prior = build.rqtransformer(config.model)
  terms = roofline.operations(roofline.autoregression(prior, 6))
  expected = sum(terms[name] for name in ('spatial', 'depth', 'classifier'))
  found = [
      k for k in kernels if k.counted.kind == 'products' and k.executed.loop
  ]
  assert sum(k.counted.flops * k.counted.times for k in found) == expected
  assert {k.counted.times for k in found} == {math.prod(tiny.CODE_SHAPE[:2])}
  kinds_found = {k.counted.kind for k in kernels}
  assert {'attention', 'norms', 'cache writes', 'draws'} <= kinds_found


def test_a_filter_adds_kernels():
  config = tiny.stage2_config()
  plain, filtered = (
      len(kernels_of(programs.sample(config, ONE, programs.Options(
          batch=2, sampling=sampling))))
      for sampling in (Sampling(), Sampling(top_p=0.9))
  )  # fmt: skip
  assert filtered > plain


def test_the_step_is_that_of_a_run_and_donates_its_state():
  config = tiny.stage2_config(train=dict(max_skipped=2))
  program = programs.train(config, ONE)
  info = program.lowered.args_info[0]
  assert len(info) == 4  # The last one counts skipped steps.
  donated = [
      all(leaf.donated for leaf in jax.tree.leaves(part)) for part in info
  ]
  assert donated == [False, True, False, False]
  assert program.lowered.compile().memory_analysis().alias_size_in_bytes > 0


def test_a_run_compiles_the_same_program():
  config = tiny.stage2_config()
  program = programs.train(config, ONE)
  mesh = tiny.one_device()
  problem = problem_lib.problem(config, mesh)
  with partitioning.activate(mesh):
    shardings = partitioning.state_sharding(problem.state, mesh)
    stepper = stepping.Stepper(
        run.STAGES[2].train_step,
        jax.device_put(
            jax.tree.map(_zeros, problem.task), partitioning.replicated(mesh)
        ),
        config.train,
        mesh=mesh,
        shardings=shardings,
        meta={},
    )
    state = jax.device_put(
        jax.tree.map(_zeros, partitioning.unbox(problem.state)), shardings
    )
    batch = jax.tree.map(_zeros, dict(problem.batch))
    batch = partitioning.global_batch(batch, mesh)
    text = stepper._step_fn.lower(stepper._task, state, batch).as_text()
  assert program.lowered.as_text() == text


def _zeros(leaf):
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return jax.random.key(0)
  return np.zeros(leaf.shape, leaf.dtype)


@pytest.mark.slow
def test_gradients_are_added_up_over_the_axis_that_splits_the_batch():
  config = tiny.stage2_config(mesh=dict(data=4, fsdp=2))
  program = programs.train(config, jax.devices())
  module = hlo.parse(program.lowered.compile().as_text())
  found = list(collectives.find(module, dict(program.mesh.shape)))
  assert module.devices == 8
  axes = {(one.counted.kind, one.axes) for one in found}
  assert ('all-gather', 'fsdp') in axes
  assert any(
      kind in ('all-reduce', 'reduce-scatter') and 'data' in axis
      for kind, axis in axes
  )


def test_a_batch_that_the_mesh_cannot_split_is_refused():
  config = tiny.stage2_config(data=dict(batch_size=6))
  with pytest.raises(ValueError, match='batch_size=6 must be a multiple of 8'):
    programs.train(config, jax.devices())


@pytest.mark.parametrize('devices', [1, 4])
def test_the_encoder_and_the_decoder_are_those_of_a_tokenizer(devices):
  config = tiny.stage1_config()
  options = programs.Options(batch=devices * 2, dtype='float32')
  model = build.rqvae(config.model)
  everything = tuple(jax.devices()[:devices])
  variables = partitioning.unbox(build.rqvae_variables(model))
  encoded = programs.encode(config, everything, options)
  decoded = programs.decode(config, everything, options)
  for program, method, shape, dtype in (
      (encoded, 'features', (tiny.SIZE, tiny.SIZE, 3), jnp.float32),
      (decoded, 'decode_codes', tiny.CODE_SHAPE, jnp.int32),
  ):
    expected = flops.count(
        lambda v, x, method=method: model.apply(v, x, method=method),
        variables,
        jax.ShapeDtypeStruct((2, *shape), dtype),
    )
    # Each device computes two images. The compiler leaves out sums of zeros.
    found = counted_flops(kernels_of(program))
    assert 0.7 * expected < found <= 1.05 * expected
    assert program.images == 2 * devices


def test_the_batch_of_an_encoder_is_a_multiple_of_its_devices():
  options = programs.Options(batch=5)
  program = programs.encode(tiny.stage1_config(), jax.devices()[:4], options)
  assert program.images == 8
  assert programs.encode(
      tiny.stage1_config(), ONE, programs.Options()
  ).images == tiny.BATCH  # fmt: skip


def test_decoding_in_parts_is_decided_by_the_share_of_a_device(monkeypatch):
  """As many parts as `decode_known` makes of the same codes."""
  monkeypatch.setattr(tokenizer_lib, '_images_at_a_time', lambda _: 2)
  config = tiny.stage1_config()
  program = programs.decode(
      config, jax.devices()[:4], programs.Options(batch=16)
  )
  kernels = kernels_of(program)
  assert max(k.counted.times for k in kernels) == 2  # Four of each device.
