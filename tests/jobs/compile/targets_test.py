"""Targets are found by name, and missing compilers are named."""

import importlib.metadata
import importlib.util
import os
import shutil
import types

import jax
import pytest

from rq_jax.jobs.compile import gpus
from rq_jax.jobs.compile import targets
from rq_jax.jobs.plan import chips


def test_the_cpu_of_this_machine_is_a_target():
  found = targets.find('cpu')
  assert found.devices == tuple(jax.devices()[:1])
  assert found.chip is None
  assert len(targets.find('cpu:3').devices) == 3


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('cpu:9', 'needs 9 CPU devices, but there are 8.*device_count=9'),
        ('b200', 'must be a TPU slice such as v5e:2x4'),
        ('v5e', 'must be a TPU slice'),
        ('v5p:4x4x4*1', 'must be a TPU slice'),
        ('h200:0', 'must be a TPU slice'),
        ('h200:12', 'must have up to 8 GPUs, or a multiple of 8'),
    ],
)
def test_unknown_targets_are_refused(name, words):
  with pytest.raises(ValueError, match=words):
    targets.find(name)


def hide(monkeypatch, *hidden):
  found = importlib.util.find_spec
  monkeypatch.setattr(
      importlib.util,
      'find_spec',
      lambda name: None if name.startswith(hidden) else found(name),
  )


def test_a_missing_compiler_of_tpus_is_named_with_its_version(monkeypatch):
  hide(monkeypatch, 'libtpu')
  lines = ['numpy', 'libtpu==7.8.*; extra == "tpu"', 'libtpu==1; extra == "x"']
  monkeypatch.setattr(importlib.metadata, 'requires', lambda _: lines)
  with pytest.raises(ValueError, match=r"pip install 'libtpu==7\.8\.\*'\."):
    targets.find('v5e:2x4')


def test_a_missing_compiler_of_gpus_is_named_with_its_version(monkeypatch):
  hide(monkeypatch, 'jax_plugins')
  version = importlib.metadata.version('jax')
  with pytest.raises(ValueError, match=rf'jax\[cuda13-local\]=={version}'):
    targets.find('h200')


def test_a_missing_ptxas_is_named(monkeypatch):
  present = types.SimpleNamespace(submodule_search_locations=['/nowhere'])
  monkeypatch.setattr(importlib.util, 'find_spec', lambda _: present)
  monkeypatch.setattr(shutil, 'which', lambda _: None)
  with pytest.raises(ValueError, match='pip install nvidia-cuda-nvcc'):
    targets.find('h200')


@pytest.fixture
def asked(monkeypatch):
  """Records what is asked of the compilers, which need not be installed."""
  calls = []

  def topology(**options):
    calls.append(options)
    kind = {'tpu': 'TPU v5', 'cuda': 'NVIDIA H200'}[options['platform']]
    devices = [
        types.SimpleNamespace(device_kind=kind, coords=[i // 2, 0, 0])
        for i in range(4)
    ]
    return types.SimpleNamespace(devices=devices)

  present = types.SimpleNamespace(submodule_search_locations=[])
  monkeypatch.setattr(importlib.util, 'find_spec', lambda _: present)
  monkeypatch.setattr(shutil, 'which', lambda _: '/bin/ptxas')
  monkeypatch.setattr(targets.topologies, 'get_topology_desc', topology)
  monkeypatch.setattr(os, 'environ', dict(os.environ))
  return calls


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('v5p:4x4x4', {}),
        ('v5p:1x1x1', {'chips_per_host_bounds': (1, 1, 1)}),
    ],
)
def test_a_slice_is_asked_for_without_a_tpu_machine(
    name, options, asked, monkeypatch
):
  monkeypatch.setattr(targets, '_check_chips', lambda *_: None)
  found = targets.find(name)
  assert asked == [{'platform': 'tpu', 'topology_name': name, **options}]
  assert found.chip == chips.named('TPU v5p')
  assert found.compiler == 'libtpu'
  assert os.environ['TPU_SKIP_MDS_QUERY'] == '1'
  assert os.environ['ALLOW_MULTIPLE_LIBTPU_LOAD'] == '1'


def test_two_slices_have_devices_at_the_same_places(asked):
  assert len(targets.find('v5p:2x1x1*2').devices) == 4
  assert asked[0]['topology_name'] == 'v5p:2x1x1'
  assert asked[0]['num_slices'] == 2


def test_two_devices_on_a_chip_are_refused(asked):
  with pytest.raises(ValueError, match='two devices on each chip'):
    targets.find('v4:2x1x1')


@pytest.mark.parametrize(
    ('name', 'topology'),
    [('h200', '1x1x1'), ('h200:8', '1x8x1'), ('h200:64', '8x8x1')],
)
def test_gpus_are_machines_of_eight(name, topology, asked):
  found = targets.find(name)
  assert asked[0]['topology'] == topology
  assert asked[0]['topology_name'] == 'h200'
  assert 'device_description_str: "NVIDIA H200"' in asked[0]['target_config']
  assert found.chip == chips.named('H200')


def test_ptxas_is_found_in_a_package(monkeypatch, tmp_path, asked):
  program = tmp_path / 'cu13' / 'bin' / 'ptxas'
  program.parent.mkdir(parents=True)
  program.touch()
  present = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
  monkeypatch.setattr(importlib.util, 'find_spec', lambda _: present)
  monkeypatch.setattr(shutil, 'which', lambda _: None)
  targets.find('h200')
  assert os.environ['PATH'].endswith(f':{program.parent}')


def test_an_impossible_topology_is_one_sentence(monkeypatch, asked):
  def refuse(**_):
    raise jax.errors.JaxRuntimeError('INVALID: not divisible\nmore')

  monkeypatch.setattr(targets.topologies, 'get_topology_desc', refuse)
  with pytest.raises(ValueError, match='--target=v5e:3x3 .*: INVALID: not div'):
    targets.find('v5e:3x3')


@pytest.mark.parametrize('gpu', gpus.GPUS.values(), ids=list(gpus.GPUS))
def test_descriptions_agree_with_the_table_of_chips(gpu):
  chip = chips.find(gpu.name)
  assert chip is not None
  assert chip.memory == gpu.memory
  if chip.source == 'specification':
    assert chip.bytes_per_second == gpu.bandwidth
  text = gpus.description(gpu)
  assert f'shared_memory_per_block_optin: {gpu.shared_memory - 1024}' in text
  assert f'core_count: {gpu.cores}' in text
