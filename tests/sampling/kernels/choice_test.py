"""Where kernels can run, and what is said where they cannot."""

import dataclasses
import types

import jax
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import rqtransformer
from rq_jax.sampling.kernels import choice
from tests.sampling import models

GPU = types.SimpleNamespace(platform='gpu')


def test_the_kernels_of_xla_run_everywhere():
  choice.check_devices('xla', jax.devices())
  choice.check_model('xla', rqtransformer.RQTransformer(width=18, heads=2))


def test_unknown_kernels_are_refused():
  with pytest.raises(ValueError, match='kernels=cuda must be one of xla, pal'):
    choice.check_devices('cuda', [GPU])


def test_kernels_need_an_nvidia_gpu():
  with pytest.raises(ValueError, match='but the device is of the kind cpu.'):
    choice.check_devices('pallas', jax.devices()[:1])
  choice.check_devices('interpret', jax.devices()[:1])
  choice.check_devices('pallas', [GPU])


def test_gpus_of_amd_are_refused_although_jax_calls_them_gpu():
  client = types.SimpleNamespace(platform_version='rocm 70000')
  amd = types.SimpleNamespace(platform='gpu', client=client)
  with pytest.raises(ValueError, match='but the device is of the kind rocm.'):
    choice.check_devices('pallas', [amd])
  choice.check_devices('xla', [amd])


@pytest.mark.parametrize('kernels', ['pallas', 'interpret'])
def test_kernels_draw_on_one_device(kernels):
  words = f'kernels={kernels} draws on one device, but there are 2.'
  with pytest.raises(ValueError, match=words):
    choice.check_devices(kernels, [GPU, GPU])


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (dict(width=96, heads=2), 'a power of two of channels per attention'),
        (dict(width=64, heads=8), 'a multiple of 16 channels per attention'),
        (dict(codebook_size=40), 'a multiple of 16 codewords'),
    ],
)
def test_models_with_other_sizes_are_refused(fields, words):
  prior = rqtransformer.RQTransformer(**fields)
  with pytest.raises(ValueError, match=words):
    choice.check_model('pallas', prior)
  choice.check_model('interpret', prior)


def test_a_sampler_refuses_kernels_before_it_lays_out_weights():
  sampler = dataclasses.replace(
      models.sampler(), kernels='pallas', prior_variables={'params': None}
  )
  with pytest.raises(ValueError, match='needs an NVIDIA GPU'):
    sampler.codes(jax.random.key(0), labels=[1])


def test_a_sampler_on_a_mesh_refuses_kernels():
  mesh = partitioning.make_mesh({'data': -1})
  sampler = dataclasses.replace(models.on_mesh(mesh), kernels='interpret')
  with pytest.raises(ValueError, match='one device, but there are 8'):
    sampler.engine  # noqa: B018 (a property that checks)


def test_a_sampler_passes_its_kernels_to_the_decode_loop():
  sampler = dataclasses.replace(models.sampler(), kernels='interpret')
  assert sampler.engine.weights.kernels == 'interpret'
  assert models.sampler().engine.weights.kernels == 'xla'
