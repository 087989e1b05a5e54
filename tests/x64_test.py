"""JAX_ENABLE_X64 changes nothing: no dtype depends on it.

`training/resume_test.py` shows that trained bits stay the same.
"""

import functools

import jax
from jax.extend import source_info_util
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import categorical
from rq_jax.sampling import Sampling
from rq_jax.sampling import decode
from rq_jax.sampling import likelihood
from rq_jax.sampling import requests
from rq_jax.training import stage1
from rq_jax.training import stage2
from rq_jax.training.stage1 import evaluation as stage1_evaluation
from rq_jax.training.stage1 import perceptual
from rq_jax.training.stage2 import evaluation as stage2_evaluation
from tests import tiny
from tests.sampling import models

pytestmark = pytest.mark.slow

# Every part of optax that a config can use.
OPTIMIZER = dict(
    name='adamw',
    weight_decay=0.1,
    clip_norm=1.0,
    schedule='cosine',
    warmup_steps=2,
    min_lr=1e-5,
    ema_decay=0.9,
)
TEXTS = dict(num_classes=0, null_class=False, text_vocab_size=20, text_length=3)
SAMPLING = dict(
    plain=Sampling(),
    filtered=Sampling(
        temperature=0.9,
        top_k=9,
        top_p=0.9,
        guidance=2.0,
        guidance_schedule='linear',
    ),
)
KEY = jax.random.key(7)
LABELS = [3, 1, 4]


def stage1_problem(**changes):
  """A task of stage 1, and a batch for it."""
  config = tiny.stage1_config(**changes)
  network = None
  if config.loss.perceptual_weight:
    network = perceptual.abstract()
  task = stage1.build(
      config, tiny.one_device(), total_steps=10, perceptual=network
  )
  valid = np.arange(tiny.BATCH) < 7
  return task, {'image': np.asarray(tiny.images()), 'valid': valid}


def stage2_problem(chunks=1, **changes):
  """A task of stage 2, and a batch for it."""
  task = stage2.build(
      tiny.stage2_config(**changes),
      tiny.one_device(),
      total_steps=10,
      tokenizer=tiny.untrained_tokenizer(),
  ).replace(chunks=chunks)
  batch = {
      'image': np.asarray(tiny.images()),
      'label': np.arange(tiny.BATCH, dtype=np.int32),
      'tokens': np.arange(24, dtype=np.int32).reshape(-1, 3) % 20,
      'valid': np.arange(tiny.BATCH) < 7,
  }
  return task, batch


PROBLEMS = {
    'discriminator': lambda: stage1_problem(
        loss=dict(adversarial_weight=0.5, adversarial_start=1),
        model=dict(dropout=0.1),
        optimizer=OPTIMIZER,
    ),
    'official_codebooks': lambda: stage1_problem(
        loss=dict(adversarial_weight=0.5, discriminator='vanilla'),
        discriminator=dict(norm='act'),
        model=dict(
            shared_codebook=False,
            codebook_size=(100, 5000),  # More than features, and in blocks.
            decay=(0.9, 0.99),
            codebook_update='depth',
            restart='absolute',
            remat=True,
            dtype='bfloat16',
        ),
        optimizer=dict(weight_decay=0.1),
    ),
    'perceptual': lambda: stage1_problem(
        loss=dict(perceptual_weight=1.0, perceptual_path='unused')
    ),
    'labels': lambda: stage2_problem(
        loss=dict(label_dropout=0.25),
        model=dict(attention_dropout=0.1, embedding_dropout=0.1),
        optimizer=OPTIMIZER,
    ),
    'texts': lambda: stage2_problem(
        chunks=2,
        loss=dict(condition_weight=0.1, soft_targets=False),
        model=TEXTS | dict(remat=True, dtype='bfloat16'),
    ),
    'learned_inputs': lambda: stage2_problem(
        loss=dict(stochastic_codes=False),
        model=dict(
            spatial_input='learned',
            depth_input='learned',
            shared_embedding=False,
            shared_classifier=False,
            num_classes=0,
            null_class=False,
        ),
    ),
}


def modules(task):
  """The modules of the stage of a task."""
  if isinstance(task, stage1.Task):
    return stage1, stage1_evaluation
  return stage2, stage2_evaluation


def inner(values):
  """Programs among the parameters of an equation."""
  for value in values:
    if hasattr(value, 'eqns'):
      yield value
    elif isinstance(value, tuple | list):
      yield from inner(value)


def is_wide(dtype):
  """Whether a dtype is of numbers of 64 bits; keys are no numbers."""
  return isinstance(dtype, np.dtype) and dtype.name in (
      'int64',
      'uint64',
      'float64',
  )


def wide(jaxpr):
  """The 64-bit values that a program computes, with their source lines."""
  for equation in jaxpr.eqns:
    for out in equation.outvars:
      dtype = getattr(out.aval, 'dtype', None)
      if is_wide(dtype):
        place = source_info_util.summarize(equation.source_info)
        yield f'{equation.primitive} of {dtype} at {place}'
    for program in inner(equation.params.values()):
      yield from wide(program)


def traced_wide(fn, *args):
  """The 64-bit values of a function and its results, under JAX_ENABLE_X64."""
  with jax.enable_x64(True):
    closed, out = jax.make_jaxpr(fn, return_shape=True)(*args)
  results = [
      f'a result of {leaf.dtype}{jax.tree_util.keystr(path)}'
      for path, leaf in jax.tree_util.tree_leaves_with_path(out)
      if is_wide(leaf.dtype)
  ]
  return [*wide(closed.jaxpr), *results]


@pytest.mark.parametrize('name', PROBLEMS)
def test_no_step_computes_anything_in_64_bits(name):
  task, batch = PROBLEMS[name]()
  steps, evaluation = modules(task)

  def init(task, key):
    return partitioning.unbox(steps.init_state(task, key))

  state = jax.eval_shape(init, task, KEY)
  assert not traced_wide(init, task, KEY)
  assert not traced_wide(steps.train_step, task, state, batch)
  assert not traced_wide(evaluation.eval_step, task, state, batch)
  assert not traced_wide(evaluation.preview, task, state, batch)


@pytest.mark.parametrize('how', SAMPLING)
def test_no_draw_computes_anything_in_64_bits(how):
  sampler = models.sampler(**(TEXTS if how == 'plain' else {}))
  prior, weights = sampler.prior, sampler.engine.weights
  condition = np.zeros((4, prior.condition_length), np.int32)
  request = requests.make(prior, condition, SAMPLING[how])

  def draw(weights, request, key):
    numbers = requests.uniforms(
        key, request.indices, prior.positions, prior.depth
    )
    return decode.draw_maps(prior, weights, request, numbers, keep_logits=True)

  assert not traced_wide(draw, weights, request, KEY)

  codes = np.zeros((4, *prior.code_shape), np.int32)
  forward = (sampler.prior_variables, sampler.tokenizer.codebooks, codes)
  for fn in (likelihood.logits, likelihood.log_prob):
    of_codes = functools.partial(fn, prior)
    assert not traced_wide(of_codes, *forward, condition)


def test_a_dtype_left_to_the_flag_is_found_and_named():
  def fn(codes):
    return categorical.draw(jax.numpy.zeros((2, 3)), codes[:, 0] / 9)

  first, *_ = traced_wide(fn, np.zeros((2, 1), np.int32))
  assert 'float64' in first
  assert 'x64_test.py' in first


def flat(tree):
  """Leaves by their path, as NumPy arrays; keys by their data."""
  leaves = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    leaves[jax.tree_util.keystr(path)] = np.asarray(leaf)
  return leaves


def assert_same_bits(actual, desired):
  """Compares trees leaf by leaf: names, dtypes, shapes and bytes."""
  actual, desired = flat(actual), flat(desired)
  assert actual.keys() == desired.keys()
  for name, value in desired.items():
    assert actual[name].dtype == value.dtype, name
    assert actual[name].shape == value.shape, name
    assert actual[name].tobytes() == value.tobytes(), name


def in_both_modes(fn):
  """The results of a function with JAX_ENABLE_X64 set and without."""
  with jax.enable_x64(True):
    wide = jax.block_until_ready(fn())
  return wide, fn()


def draws():
  """The results of every method of a sampler."""
  sampler = models.sampler()
  found = {
      how: sampler.codes(KEY, labels=LABELS, sampling=options)
      for how, options in SAMPLING.items()
  }
  codes = np.asarray(found['plain'], np.int64)
  images = np.linspace(-1, 1, 3 * 16 * 16 * 3).reshape(3, 16, 16, 3)
  redraw = np.arange(16)[:, None] + np.zeros((1, 16)) < 8
  chosen = sampler.best_of(
      KEY, 2, lambda x: np.mean(x, axis=(1, 2, 3)), labels=np.array(LABELS)
  )
  return found | {
      'stream': list(sampler.stream(KEY, labels=LABELS)),
      'complete': sampler.complete(KEY, codes, redraw[::8, ::8], labels=LABELS),
      'edit': sampler.edit(KEY, images, redraw, labels=LABELS),
      'best': (chosen.images, chosen.codes, chosen.scores),
      'logits': sampler.logits(codes, labels=LABELS),
      'log_prob': sampler.log_prob(codes, labels=LABELS),
      'encoded': sampler.tokenizer.encode(images),
      'features': sampler.tokenizer.features(images),
      'decoded': sampler.tokenizer.decode(codes),
  }


def test_samplers_and_tokenizers_return_the_same_also_of_wide_arrays():
  wide, usual = in_both_modes(draws)
  assert_same_bits(wide, usual)


def test_batches_of_wide_arrays_become_narrow():
  rows = {'label': np.arange(8), 'features': np.linspace(0, 1, 8)}
  wide, usual = in_both_modes(
      lambda: partitioning.global_batch(rows, tiny.one_device())
  )
  assert_same_bits(wide, usual)
  assert (wide['label'].dtype, wide['features'].dtype) == (np.int32, np.float32)


def test_keys_of_all_seeds_differ_and_are_the_same():
  seeds = [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
  wide, usual = in_both_modes(lambda: [jax.random.key(s) for s in seeds])
  assert_same_bits(wide, usual)
  assert len({tuple(data) for data in map(tuple, flat(usual).values())}) == 6
