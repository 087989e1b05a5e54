"""Descriptions of GPUs, from which XLA compiles for them without a device."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPU:
  """What XLA needs to know of a GPU; values of the boards with SXM.

  Attributes:
    name: The name that JAX gives to such a device.
    compute_capability: Major and minor number.
    cores: Number of streaming multiprocessors.
    units_per_core: Float32 units of each.
    shared_memory: Bytes of shared memory of each.
    cache: Bytes of the L2 cache.
    clock_ghz: Highest clock.
    bandwidth: Bytes per second of the memory.
    memory: Bytes of the memory.
  """

  name: str
  compute_capability: tuple[int, int]
  cores: int
  units_per_core: int
  shared_memory: int
  cache: int
  clock_ghz: float
  bandwidth: int
  memory: int


GPUS = {
    'h200': GPU(
        name='NVIDIA H200',
        compute_capability=(9, 0),
        cores=132,
        units_per_core=128,
        shared_memory=233_472,
        cache=52_428_800,
        clock_ghz=1.98,
        bandwidth=4_800_000_000_000,
        memory=150_000_000_000,
    ),
    'h100': GPU(
        name='NVIDIA H100 80GB HBM3',
        compute_capability=(9, 0),
        cores=132,
        units_per_core=128,
        shared_memory=233_472,
        cache=52_428_800,
        clock_ghz=1.98,
        bandwidth=3_350_000_000_000,
        memory=85_000_000_000,
    ),
    'a100': GPU(
        name='NVIDIA A100-SXM4-80GB',
        compute_capability=(8, 0),
        cores=108,
        units_per_core=64,
        shared_memory=167_936,
        cache=41_943_040,
        clock_ghz=1.41,
        bandwidth=2_039_000_000_000,
        memory=85_000_000_000,
    ),
}
# Reserved by the system in each block of threads.
_RESERVED = 1024


def description(gpu: GPU) -> str:
  """The text of a `GpuTargetConfigProto` of XLA."""
  major, minor = gpu.compute_capability
  return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {gpu.shared_memory}
  threads_per_core_limit: 2048
  core_count: {gpu.cores}
  fpus_per_core: {gpu.units_per_core}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {gpu.bandwidth}
  l2_cache_size: {gpu.cache}
  clock_rate_ghz: {gpu.clock_ghz}
  device_memory_size: {gpu.memory}
  shared_memory_per_block_optin: {gpu.shared_memory - _RESERVED}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 13 }}
device_description_str: "{gpu.name}"
"""
