"""Devices to compile for, which need not exist on this machine."""

from collections.abc import Mapping
import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shutil
from typing import Any

import jax
from jax.experimental import topologies

from rq_jax.jobs.compile import gpus
from rq_jax.jobs.plan import chips
from rq_jax.typing import Device

FORMS = (
    'a TPU slice such as v5e:2x4, v5p:4x4x4 or v6e:2x2, two such slices'
    ' (v5p:4x4x4*2), one or several GPUs such as h200, h200:8 or h100:64, or'
    ' cpu'
)
_TPU = re.compile(r'(v4|v5e|v5p|v6e):(\d+(?:x\d+){1,2})(?:\*([2-9]|\d\d+))?')
_GPU = re.compile(rf'({"|".join(gpus.GPUS)})(?::([1-9]\d*))?')
_CPU = re.compile(r'cpu(?::([1-9]\d*))?')
_NODE = 8  # GPUs of one machine.
# What libtpu would otherwise ask the metadata server of a TPU machine, and how
# to keep its log short. Several processes may load it at once.
_TPU_ENVIRONMENT = {
    'TPU_SKIP_MDS_QUERY': '1',
    'TPU_ACCELERATOR_TYPE': 'v5p-8',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'TPU_STDERR_LOG_LEVEL': '3',
    'TPU_MIN_LOG_LEVEL': '3',
    'TPU_LOG_DIR': 'disabled',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """Devices to compile for.

  Attributes:
    name: Name of the target, such as 'v5e:2x4'.
    devices: The devices.
    chip: Memory and peak rates of each; None if they are unknown.
    compiler: The package that holds the compiler.
  """

  name: str
  devices: tuple[Device, ...]
  chip: chips.Chip | None
  compiler: str


def find(name: str) -> Target:
  """The devices of a target; see `FORMS`.

  Raises:
    ValueError: If there is no such target, or its compiler is not installed.
  """
  if match := _TPU.fullmatch(name):
    devices = _tpus(name, match[2], int(match[3] or 1))
    compiler = 'libtpu'
  elif match := _GPU.fullmatch(name):
    devices = _gpus(name, match[1], int(match[2] or 1))
    compiler = 'jaxlib'  # The plugin has the same version.
  elif match := _CPU.fullmatch(name):
    devices = _cpus(name, int(match[1] or 1))
    compiler = 'jaxlib'
  else:
    raise ValueError(f'--target={name} must be {FORMS}.')
  return Target(
      name=name,
      devices=tuple(devices),
      chip=chips.find(devices[0].device_kind),
      compiler=compiler,
  )


def _tpus(name: str, shape: str, slices: int) -> list[Device]:
  if importlib.util.find_spec('libtpu') is None:
    raise ValueError(
        f'--target={name} needs the compiler of TPUs. Run: pip install'
        f" '{_required('libtpu', 'tpu')}'. The extra aot of rq_jax installs"
        ' all compilers.'
    )
  for variable, value in _TPU_ENVIRONMENT.items():
    os.environ.setdefault(variable, value)
  options: dict[str, Any] = {'num_slices': slices} if slices > 1 else {}
  if all(side == '1' for side in shape.split('x')):  # Smaller than a machine.
    options['chips_per_host_bounds'] = (1, 1, 1)
  devices = _topology(name, 'tpu', name.partition('*')[0], options)
  _check_chips(name, devices, slices)
  return devices


def _check_chips(name: str, devices: list[Any], slices: int) -> None:
  if len({tuple(device.coords) for device in devices}) * slices < len(devices):
    raise ValueError(
        f'--target={name} has two devices on each chip, which rq_jax does not'
        ' support. Choose another TPU, such as v5p.'
    )


def _gpus(name: str, kind: str, count: int) -> list[Device]:
  if count > _NODE and count % _NODE:
    raise ValueError(
        f'--target={name} must have up to {_NODE} GPUs, or a multiple of'
        f' {_NODE}, because a machine has {_NODE}.'
    )
  if all(map(_missing, ('jax_plugins.xla_cuda13', 'jax_plugins.xla_cuda12'))):
    version = importlib.metadata.version('jax')
    raise ValueError(
        f'--target={name} needs the compiler of GPUs. Run: pip install'
        f" 'jax[cuda13-local]=={version}' nvidia-cuda-nvcc. The extra aot of"
        ' rq_jax installs all compilers.'
    )
  _put_on_path(name)
  nodes, each = (count // _NODE, _NODE) if count > _NODE else (1, count)
  options = {
      'target_config': gpus.description(gpus.GPUS[kind]),
      'topology': f'{nodes}x{each}x1',
  }
  return _topology(name, 'cuda', kind, options)


def _missing(module: str) -> bool:
  try:
    return importlib.util.find_spec(module) is None
  except ImportError:  # Its parent is missing.
    return True


def _put_on_path(name: str) -> None:
  """Adds the folder of `ptxas` to the path, if it is in a package."""
  if shutil.which('ptxas'):
    return
  found = importlib.util.find_spec('nvidia')
  places = (found.submodule_search_locations if found else None) or ()
  for place in places:
    for program in sorted(pathlib.Path(place).glob('*/bin/ptxas')):
      os.environ['PATH'] += f'{os.pathsep}{program.parent}'
      return
  raise ValueError(
      f'--target={name} needs the program ptxas. Run: pip install'
      ' nvidia-cuda-nvcc.'
  )


def _topology(
    name: str, platform: str, topology: str, options: Mapping
) -> list[Device]:
  try:
    found = topologies.get_topology_desc(
        platform=platform, topology_name=topology, **options
    )
  except jax.errors.JaxRuntimeError as error:
    reason = str(error).splitlines()[0]
    raise ValueError(
        f'--target={name} is not a topology that the compiler knows: {reason}.'
        f' Give {FORMS}.'
    ) from error
  return found.devices


def _cpus(name: str, count: int) -> list[Device]:
  devices = jax.devices('cpu')
  if len(devices) < count:
    raise ValueError(
        f'--target={name} needs {count} CPU devices, but there are'
        f' {len(devices)}. Set the environment variable'
        f' XLA_FLAGS=--xla_force_host_platform_device_count={count}.'
    )
  return devices[:count]


def _required(package: str, extra: str) -> str:
  """The version of a package that an extra of the installed JAX names."""
  for line in importlib.metadata.requires('jax') or ():
    requirement, _, marker = line.partition(';')
    if requirement.startswith(package) and f'"{extra}"' in marker:
      return requirement.strip()
  return package
