"""The description of a compiled program, as values and as text."""

import json

import jax
import jax.numpy as jnp
import pytest

from rq_jax.distributed import partitioning
from rq_jax.jobs.compile import estimate
from rq_jax.jobs.compile import job
from rq_jax.jobs.compile import programs
from rq_jax.jobs.compile import report
from rq_jax.jobs.compile import table
from rq_jax.jobs.compile import targets
from rq_jax.jobs.plan import chips
from tests import tiny

RATES = estimate.Rates(peak={'float32': 1e9}, bytes_per_second=1e9)


@pytest.fixture(scope='module')
def record():
  config = tiny.stage2_config(mesh=dict(data=4, fsdp=2))
  target = targets.find('cpu:8')
  return report.make(programs.train(config, target.devices), target, RATES)


def test_a_record_can_be_written_as_json(record):
  assert json.loads(json.dumps(record)) == record
  assert record['target'] == 'cpu:8'
  assert record['devices'] == 8
  assert record['mesh'] == {'data': 4, 'fsdp': 2, 'model': 1}
  assert record['images'] == tiny.BATCH
  assert record['versions']['jax'] == jax.__version__


def test_the_memory_is_that_of_the_compiler(record):
  target = targets.find('cpu:8')
  config = tiny.stage2_config(mesh=dict(data=4, fsdp=2))
  compiled = programs.train(config, target.devices).lowered.compile()
  expected = compiled.memory_analysis()
  memory = record['memory']
  assert memory['arguments'] == expected.argument_size_in_bytes
  assert memory['temporaries'] == expected.temp_size_in_bytes
  # Outputs that take the place of arguments need no memory of their own.
  assert memory['outputs'] < 0.1 * expected.output_size_in_bytes
  parts = ('arguments', 'outputs', 'temporaries', 'code')
  assert memory['total'] == sum(memory[name] for name in parts)
  assert memory['chip'] is None


def test_the_estimate_is_the_sum_of_its_parts(record):
  parts = dict(record['estimate'])
  total = parts.pop('total')
  assert total == pytest.approx(sum(parts.values()))
  # Every product is charged three quarters of the peak, or its bytes.
  products = record['kernels']['products']
  least = products['flops'] / 0.75e9
  assert least <= parts['products'] <= least + products['bytes'] / 1e9


def test_collectives_are_listed_with_their_axes(record):
  assert {row['axes'] for row in record['collectives']} >= {'fsdp'}
  for row in record['collectives']:
    assert row['bytes'] > 0
    assert row['executions'] >= row['instructions'] > 0


def test_the_text_names_everything_in_80_columns(record):
  text = table.text(record)
  assert all(len(line) <= 80 for line in text.splitlines())
  assert 'Compiled for cpu:8 (8 x cpu) in' in text
  assert 'Mesh: data 4, fsdp 2, model 1.' in text
  assert 'Estimate (not measured):' in text
  for kind in record['kernels']:
    assert f'  {kind} ' in text
  assert 'of the chip' not in text


def described(**changes):
  """A record that is easy to read, with changes."""
  return {
      'target': 'h200',
      'device': 'NVIDIA H200',
      'devices': 1,
      'mesh': {'data': 1},
      'images': 64,
      'dtype': 'bfloat16',
      'notes': ['A note.'],
      'compile_seconds': 12.34,
      'compile_cpu_seconds': 20.01,
      'memory': {
          'arguments': 3 * 2**30,
          'outputs': 2**20,
          'temporaries': 2**30,
          'code': 0,
          'total': 4 * 2**30 + 2**20,
          'chip': 8 * 2**30,
      },
      'kernels': {
          'products': {'executions': 640, 'bytes': 5e9, 'flops': 2e12},
          'norms': {'executions': 64, 'bytes': 1e9, 'flops': 0},
      },
      'loops': [
          {'op_name': 'jit(f)/while', 'passes': 64, 'kernels': 11, 'bytes': 9e7}
      ],
      'collectives': [],
      'findings': [],
      'estimate': {'total': 0.128, 'products': 0.12, 'gaps': 0.008, 'x': 0.0},
  } | changes


def test_the_numbers_stand_in_their_rows():
  lines = table.text(described()).splitlines()
  assert 'Compiled for h200 (1 x NVIDIA H200) in 12.3 s, 20.0 CPU s.' in lines
  rows = {line[:28].strip(): line[28:].split() for line in lines}
  assert 'A note.' in lines
  assert rows['temporaries'] == ['1,024.0']
  assert rows['of the chip'] == ['8,192.0', '50%']
  assert rows['products'] == ['640', '5.000', '2,000.0']
  assert rows['total'] == ['704', '6.000', '2,000.0']
  assert lines[lines.index(next(x for x in lines if 'Loops' in x)) + 1].split(
  ) == ['jit(f)/while', '64', '11', '0.090']  # fmt: skip
  assert 'Estimate (not measured): 128 ms, 500 images per second.' in lines
  assert '  products 120 ms, gaps 8 ms.' in lines
  assert 'It does not fit' not in '\n'.join(lines)


def test_a_program_that_is_too_large_does_not_fit():
  memory = described()['memory'] | {'chip': 2**30}
  assert '  It does not fit.' in table.text(described(memory=memory))


def test_findings_and_collectives_are_shown():
  finding = {
      'what': 'A large array is copied.',
      'shape': 'f32[5]',
      'op_name': 'a/' * 60 + 'end',
      'count': 3,
      'bytes': 2e9,
  }
  row = {
      'kind': 'all-gather',
      'axes': 'data+fsdp',
      'dtype': 'bf16',
      'instructions': 1,
      'executions': 42,
      'bytes': 3e9,
  }
  text = table.text(described(findings=[finding], collectives=[row]))
  assert '  A large array is copied.\n    3 x, 2.000 GB, f32[5]\n' in text
  last = text.splitlines()[-1].strip()
  assert last.startswith('..') and last.endswith('a/end')
  assert 'all-gather of bf16 over data+fsdp' in text


def test_without_rates_there_is_no_estimate():
  text = table.text(described(estimate=None))
  assert 'No estimate: the rates of this device are unknown.' in text


def test_a_chip_of_the_table_needs_no_measurement():
  h200 = targets.Target(
      name='h200',
      devices=tuple(jax.devices()[:1]),
      chip=chips.named('H200'),
      compiler='jaxlib',
  )
  assert job._rates(h200) == estimate.rates_of(chips.named('H200'))


def test_products_without_a_kernel_of_xla_are_calls_of_cublas():
  tried = []

  class Lowered:
    args_info = ()

    def compile(self, options=None):
      tried.append(options)
      if options is None:
        raise jax.errors.JaxRuntimeError(
            "INTERNAL: Couldn't find output tile sizes that satisfy hlo: %dot"
        )
      return jax.jit(lambda: 0).lower().compile()

  program = programs.Program(
      lowered=Lowered(), mesh=None, images=1, dtype='float32', notes=('Other.',)
  )
  notes = report.make(program, targets.find('cpu'), None)['notes']
  assert tried == [None, {'xla_gpu_enable_triton_gemm': False}]
  assert [note.endswith('calls of cuBLAS.') for note in notes] == [True, False]


@pytest.mark.parametrize('images', [3, 4096])
def test_a_split_state_may_be_written_in_float32_and_gathered(images):
  mesh = partitioning.make_mesh(dict(fsdp=8))
  split = partitioning.axes_sharding(('embed', None), (4096, 8192), mesh)
  moments = jax.ShapeDtypeStruct((4096, 8192), jnp.float32, sharding=split)
  unused = jax.ShapeDtypeStruct((7,), jnp.float32)
  whole = partitioning.replicated(mesh)
  lowered = jax.jit(lambda _, x: (-x, x), out_shardings=(split, whole)).lower(
      unused, moments
  )
  program = programs.Program(
      lowered=lowered, mesh=mesh, images=images, dtype='bfloat16'
  )
  found = report.make(program, targets.find('cpu:8'), None)['findings']
  # An array with as many rows as images is no state.
  expected = ['f32[4096,8192]', 'f32[512,8192]'] if images == 4096 else []
  assert [one['shape'] for one in found] == expected


def test_a_program_that_the_compiler_refuses_is_one_sentence():
  class Lowered:

    def compile(self):
      raise jax.errors.JaxRuntimeError(
          'RESOURCE_EXHAUSTED: Used 30G of 16G hbm.\n\nLargest: f32[9]'
      )

  program = programs.Program(
      lowered=Lowered(), mesh=None, images=1, dtype='float32'
  )
  with pytest.raises(ValueError, match='memory of cpu: .*16G hbm') as error:
    report.make(program, targets.find('cpu'), None)
  assert 'Largest' not in str(error.value)
