"""The device check runs on the CPU with tiny models, and its page is made."""

import dataclasses
import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest

from rq_jax.jobs.benchmark import training_steps
from rq_jax.jobs.benchmark.device import cases as cases_lib
from rq_jax.jobs.benchmark.device import greedy
from rq_jax.jobs.benchmark.device import job
from rq_jax.jobs.benchmark.device import kernels
from rq_jax.jobs.benchmark.device import report as report_lib
from rq_jax.jobs.benchmark.device import sampling

ROOT = pathlib.Path(__file__).resolve().parents[3]


def _page():
  spec = importlib.util.spec_from_file_location(
      'device_figures', ROOT / 'docs' / 'device_figures.py'
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def losses(monkeypatch):
  """Losses of all training steps, by their stage."""
  found = {1: [], 2: []}
  prepare = training_steps.prepare

  def recorded(config, mesh):
    prepared = prepare(config, mesh)

    def take():
      metrics = prepared.take()
      found[config.stage].append(float(metrics['loss']))
      return metrics

    return dataclasses.replace(prepared, take=take)

  monkeypatch.setattr(training_steps, 'prepare', recorded)
  return found


@pytest.mark.slow
def test_the_small_check_measures_every_part(tmp_path, monkeypatch, losses):
  # These have tests of their own, and many programs.
  monkeypatch.setattr(job.constants.cpu_rates, 'measure', lambda *_, **__: None)
  monkeypatch.setattr(job.constants.cpu_rates, 'described', lambda _: [])
  one = jax.local_devices()[:1]
  monkeypatch.setattr(jax, 'local_devices', lambda: one)
  path = tmp_path / 'x.json'
  job.run(str(path), small=True, minutes=10)
  record = json.loads(path.read_text())
  assert {
      name: [case['case'] for case in part]
      for name, part in record['parts'].items()
      if name != 'kernels'
  } == {
      'constants': ['all'],
      'sampling': ['batch 2, xla', 'batch 2, interpret'],
      'training': ['stage 1', 'stage 2'],
      'greedy': ['xla', 'interpret'],
      'decoding': ['batch 2'],
  }
  cases = [case for part in record['parts'].values() for case in part]
  assert [case for case in cases if case['state'] != 'done'] == []
  compared = [case['found'] for case in record['parts']['kernels']]
  assert len(compared) == 8
  for found in compared[:-2]:
    assert found['difference'] <= found['tolerance'] == 1e-5
  # Codes.
  assert [found['difference'] for found in compared[-2:]] == [0, 0]
  for stage, batch in ((1, 2), (2, 4)):
    found = record['parts']['training'][stage - 1]['found']
    assert (found['stage'], found['batch_size']) == (stage, batch)
    first, second = losses[stage]
    assert np.isfinite([first, second]).all() and first != second
  for case in record['parts']['greedy']:
    assert case['found']['share_equal'] == 1
  text = _page().tables(record)
  assert '| interpret | 16 | 100.00% | 100.00% | 100.0% |' in text
  assert text.count('\n| draw') == 2
  assert '\n| stage 2 | 4 | 2 | float32 | ' in text


def test_the_full_check_is_of_the_published_models():
  full = cases_lib.FULL
  stage1, stage2 = full.rqvae, full.rqtransformer
  assert (stage1.data.batch_size, stage1.model.dtype) == (32, 'bfloat16')
  assert min(stage1.loss.adversarial_weight, stage1.loss.perceptual_weight) > 0
  assert (stage2.model.width, stage2.model.spatial_layers) == (1536, 42)
  assert stage2.data.batch_size == 2048
  batches = sorted(batch for group in full.batches for batch in group)
  assert batches == [1, 8, 64, 200, 500]
  assert full.compared_kernels == 'pallas'


def test_another_code_counts_as_a_difference(monkeypatch):
  drawn = iter(
      [np.zeros((2, 1, 1, 2), int), np.array([[[[0, 0]]], [[[0, 5]]]])]
  )
  monkeypatch.setattr(greedy, '_codes', lambda *_: next(drawn))
  check = dataclasses.replace(cases_lib.SMALL, kernels=('xla',))
  ((name, work),) = greedy.run(check)
  assert name == 'xla'
  assert work() == {
      'codes': 4,
      'share_equal': 0.75,
      'share_of_maps_equal': 0.5,
      'first_position_equal': 0.75,
  }


def test_pallas_kernels_are_skipped_on_a_cpu(tmp_path):
  check = dataclasses.replace(
      cases_lib.SMALL,
      kernels=('pallas',),
      compared_kernels='pallas',
      batches=(),
  )
  report = report_lib.Report(str(tmp_path / 'x.json'), {}, minutes=1)
  report.part('sampling', sampling.run(check, report, chip=None))
  report.part('kernels', kernels.run(check, report))
  cases = [case for part in report.record['parts'].values() for case in part]
  assert len(cases) == 1 + 8
  for case in cases:
    assert case['state'] == 'skipped'
    assert 'needs an NVIDIA GPU' in case['reason']


def test_the_page_shows_figures_beside_their_targets():
  record = {
      'small': False,
      'environment': {'device': 'NVIDIA H200', 'versions': {'jax': '9'}},
      'parts': {
          'sampling': [
              {
                  'case': 'batch 64, xla',
                  'state': 'done',
                  'found': {
                      'batch_size': 64,
                      'kernels': 'xla',
                      'ms_per_image': 2.0,
                      'us_per_position': 2000.0,
                      'ideal_seconds': 0.064,
                      'seconds': {'median': 0.128},
                      'first_call_seconds': 70.2,
                  },
              },
              {'case': 'batch 8, xla', 'state': 'failed', 'reason': 'Why.'},
          ],
          'decoding': [
              {
                  'case': 'batch 64',
                  'state': 'done',
                  'found': {'batch_size': 64, 'ms_per_image': 0.25},
              }
          ],
          'training': [
              {
                  'case': 'stage 2',
                  'state': 'done',
                  'found': {
                      'batch_size': 4,
                      'accumulate': 2,
                      'dtype': 'float32',
                      'seconds': {'median': 2.0, 'min': 1.0, 'max': 3.0},
                      'images_per_second': 2.0,
                      'peak': {'share': 0.25},
                      'peak_memory': {'bytes': 2**31},
                      'compile_seconds': {'first_call': 9.0},
                  },
              }
          ],
          'kernels': [
              {
                  'case': 'draw, 8 rows',
                  'state': 'done',
                  'found': {
                      'seconds': {
                          'kernel': {'median': 2e-6},
                          'plain': {'median': 5e-6},
                      },
                      'ratio': 2.5,
                      'difference': 0.0625,
                      'tolerance': 0.125,
                      'share_equal': 0.9375,
                  },
              }
          ],
      },
  }
  lines = _page().tables(record).splitlines()
  assert lines[0] == 'NVIDIA H200, jax 9'
  assert '| 64 | xla | 2 | 2000 | 50% | 2.25 | 2.6 | 70 |' in lines
  assert '- batch 8, xla: failed: Why.' in lines
  row = '| stage 2 | 4 | 2 | float32 | 2 | 1 | 3 | 2 | 25.0% | 2.0 | 9 |'
  assert row in lines
  row = '| draw, 8 rows | 2.0 | 5.0 | 2.50 | 0.062 | 0.125 | 93.8% |'
  assert row in lines
