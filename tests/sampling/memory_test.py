"""What fits is told exactly, and about as much as programs do take."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.sampling import memory
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from rq_jax.sampling.options import Sampling
from tests.sampling import models

_KEY = jax.random.key(0)
_MESHES = {
    'one device': None,
    'data': dict(data=4, fsdp=2),
    'heads': dict(data=4, model=2),
    'other heads': dict(data=2, model=4),  # There are two.
}


def _prior(**changes):
  """One whose caches are most of what it takes."""
  options = dict(
      code_shape=(8, 8, 2),
      codebook_size=16,
      embed_dim=4,
      width=64,
      heads=2,
      spatial_layers=4,
      depth_layers=1,
      num_classes=10,
      null_class=True,
  )
  return rqtransformer.RQTransformer(**options | changes)


def _decoder():
  return models.random_tokenizer().model


def _mesh(name):
  return _MESHES[name] and partitioning.make_mesh(_MESHES[name])


def _check(batch, mesh=None, *, guided=False):
  memory.check_fits(
      _prior(), _decoder(), batch, guided=guided, mesh=mesh, reserved=0
  )


@pytest.mark.parametrize('mesh', _MESHES)
@pytest.mark.parametrize('guided', [False, True])
@pytest.mark.parametrize('most', [1, 2, 3, 4, 50])
def test_the_largest_batch_that_fits_is_named_and_taken(
    mesh, guided, most, monkeypatch
):
  # Three images are decoded at a time.
  pixels = tokenizer_lib.decoding_bytes(_decoder(), 1)
  monkeypatch.setattr(tokenizer_lib, '_DECODING_BUDGET', 3 * pixels + 1)
  split = {'one device': 1, 'data': 8, 'heads': 4, 'other heads': 2}[mesh]
  image = memory.image_bytes(
      _prior(),
      _decoder(),
      guided=guided,
      platform='cpu',
      split_heads=2 if mesh == 'heads' else 1,
  )
  exactly = most * image + min(most, 3) * pixels
  step = image + (pixels if most < 3 else 0)  # To the next image.
  for left in (exactly, exactly + step - 1):
    monkeypatch.setattr(memory, 'free_bytes', lambda _, left=left: left)
    _check(most * split, _mesh(mesh), guided=guided)
    with pytest.raises(ValueError) as error:
      _check(most * split + 1, _mesh(mesh), guided=guided)
    needed = (exactly + step) / 2**30
    assert str(error.value) == (
        f'{most * split + 1} images at a time need about {needed:.1f} GiB of'
        ' memory in addition to the weights, which leave'
        f' {left / 2**30:.1f} GiB on a device: at most {most * split} fit. Draw'
        ' fewer images per call, or draw them in chunks with python -m rq_jax'
        ' sample --chunk_size.'
    )


def test_what_is_needed_is_what_the_fullest_device_needs(monkeypatch):
  monkeypatch.setattr(memory, 'image_bytes', lambda *_, **__: 2**30)
  monkeypatch.setattr(memory, 'free_bytes', lambda _: 2**30 * 3 // 2)
  with pytest.raises(ValueError, match=r'need about 2\.0 GiB .* 1\.5 GiB on'):
    _check(9, _mesh('data'))


@pytest.mark.parametrize('left', [0, 1000])
def test_where_not_one_image_fits_none_is_taken(left, monkeypatch):
  monkeypatch.setattr(memory, 'free_bytes', lambda _: left)
  with pytest.raises(ValueError, match='at most 0 fit'):
    _check(1)


def test_images_that_are_not_square_take_memory_by_their_pixels():
  decoder, options = _decoder(), dict(guided=False, platform='cpu')
  wide = decoder.clone(image_size=(8, 32))  # As many pixels as 16x16.
  image = memory.image_bytes(_prior(), decoder, **options)
  assert memory.image_bytes(_prior(), wide, **options) == image
  tall = decoder.clone(image_size=(32, 16))
  assert memory.image_bytes(_prior(), tall, **options) == image + 16 * 16 * 3
  pixels = tokenizer_lib.decoding_bytes(decoder, 1)
  assert tokenizer_lib.decoding_bytes(wide, 1) == pixels
  assert tokenizer_lib.decoding_bytes(tall, 1) == 2 * pixels


def test_where_nobody_can_tell_all_is_taken(monkeypatch):
  monkeypatch.setattr(memory, 'free_bytes', lambda _: None)
  _check(10**9)


def test_the_first_device_of_the_mesh_is_asked(monkeypatch):
  asked = []
  monkeypatch.setattr(memory, 'free_bytes', asked.append)
  _check(1)
  _check(1, partitioning.make_mesh({}, devices=jax.devices()[3:4]))
  assert asked == [jax.devices()[0], jax.devices()[3]]


def test_guidance_takes_the_place_of_another_image():
  def of(**options):
    return memory.image_bytes(_prior(), _decoder(), platform='cpu', **options)

  once, twice = of(guided=False), of(guided=True)
  kept = 64 * 2 * 16 + 16 * 16 * 3  # Codes and pixels, which are not doubled.
  assert twice - kept == 2 * (once - kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('dtype', 'guided', 'devices', 'text'),
    [
        ('float32', False, 1, 0),
        ('bfloat16', True, 1, 0),
        ('float32', True, 2, 0),
        ('float32', False, 1, 16),
    ],
)
def test_an_image_takes_about_as_much_as_its_program_does(
    dtype, guided, devices, text
):
  condition = dict(text_vocab_size=10, text_length=text, num_classes=0)
  prior = _prior(dtype=dtype, **condition if text else {})
  mesh = partitioning.make_mesh(
      dict(data=devices), devices=jax.devices()[:devices]
  )
  few, many = (
      _program(prior, batch * devices, guided, mesh)
      .memory_analysis()
      .temp_size_in_bytes
      for batch in (8, 24)
  )
  estimate = memory.image_bytes(
      prior, _decoder(), guided=guided, platform='cpu'
  )
  assert 0.5 < estimate / ((many - few) / 16) < 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ('mesh', 'split'),
    [
        (dict(data=2, model=2), (6, 1)),
        (dict(data=2, fsdp=2), (3, 2)),
        (dict(model=4), (12, 2)),  # There are fewer heads than devices.
    ],
    ids=str,
)
def test_caches_are_split_over_batch_and_heads(mesh, split):
  mesh = partitioning.make_mesh(mesh, devices=jax.devices()[:4])
  program = _program(_prior(spatial_layers=1), 12, False, mesh).as_text()
  (loop,) = (line for line in program.splitlines() if ' while(' in line)
  # Keys and values, 64 positions of 32 channels.
  caches = re.findall(r'f32\[(\d+),(\d+),64,32\]', loop.split(' while(')[0])
  assert [tuple(map(int, c)) for c in caches] == [split, split]


def _program(prior, batch, guided, mesh):
  """The program that draws a batch."""
  params = partitioning.unbox(build.rqtransformer_variables(prior))['params']
  words = jax.ShapeDtypeStruct((prior.sizes[0], prior.embed_dim), np.float32)
  request = requests.make(
      prior,
      np.zeros((batch, prior.condition_length), np.int32),
      Sampling(guidance=2.0 if guided else 1.0),
  )
  numbers = np.zeros(request.given.shape, np.float32)
  place = functools.partial(
      jax.device_put, device=partitioning.batch_sharding(mesh)
  )
  return (
      programs.draw_maps.on('cpu')
      .lower(
          prior,
          jax.eval_shape(
              lambda p, w: weights.prepare(prior, p, (w,)), params, words
          ),
          request.map_images(place),
          place(numbers),
          mesh=mesh,
      )
      .compile()
  )


def test_weights_that_are_not_laid_out_yet_need_memory_first(monkeypatch):
  sampler = dataclasses.replace(models.sampler())  # Has drawn nothing.
  arrays = jax.tree.leaves(models.sampler().engine.weights)
  weights = sum(array.nbytes for array in arrays)
  decoder, options = sampler.tokenizer.model, dict(guided=False, platform='cpu')
  left = memory.image_bytes(sampler.prior, decoder, **options)
  left += tokenizer_lib.decoding_bytes(decoder, 1) + weights
  monkeypatch.setattr(memory, 'free_bytes', lambda _: left)
  with pytest.raises(ValueError, match='at most 1 fit'):
    sampler.check(labels=[1, 2])
  monkeypatch.setattr(memory, 'free_bytes', lambda _: left - 1)
  with pytest.raises(ValueError, match='at most 0 fit'):
    sampler.codes(_KEY, labels=[1])
  assert sampler.engine.reserved_bytes() == weights
  monkeypatch.setattr(memory, 'free_bytes', lambda _: left)
  sampler.codes(_KEY, labels=[1])
  assert sampler.engine.reserved_bytes() == 0
  monkeypatch.setattr(memory, 'free_bytes', lambda _: left - weights)
  sampler.codes(_KEY, labels=[1])


def test_a_sampler_refuses_what_does_not_fit(monkeypatch):
  sampler = models.sampler()
  assert sampler.engine.weights  # They are there before the first call.
  prior, decoder = sampler.prior, sampler.tokenizer.model
  left = 2 * memory.image_bytes(prior, decoder, guided=False, platform='cpu')
  left += tokenizer_lib.decoding_bytes(decoder, 2)
  monkeypatch.setattr(memory, 'free_bytes', lambda _: left)
  sampler(_KEY, labels=[1, 2])
  guided = Sampling(guidance=2.0)
  sampler(_KEY, labels=[1], sampling=guided)
  codes = np.zeros((3, 2, 2, 2), np.int32)
  for name, given in (
      ('__call__', ()),
      ('codes', ()),
      ('stream', ()),
      ('complete', (codes, np.ones((2, 2), bool))),
      ('best_of', (2, None)),
  ):
    with pytest.raises(ValueError, match='at most 2 fit'):
      getattr(sampler, name)(_KEY, *given, labels=[1, 2, 3])
  with pytest.raises(ValueError, match='at most 1 fit'):
    sampler.codes(_KEY, labels=[1, 2], sampling=guided)


def test_16_bit_take_half_where_they_are_not_held_in_32():
  def of(dtype, platform):
    prior = _prior(dtype=dtype)
    return memory.image_bytes(
        prior, _decoder(), guided=False, platform=platform
    )

  assert of('bfloat16', 'cpu') == of('float32', 'cpu') == of('float32', 'gpu')
  kept = 64 * 2 * 16 + 16 * 16 * 3 + 5 * 4 * max(_prior().sizes)
  assert of('float32', 'gpu') - kept == 2 * (of('bfloat16', 'gpu') - kept)
