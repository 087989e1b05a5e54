"""Training steps are timed: with a fake clock, on tiny experiments."""

import json

import jax
import numpy as np
import pytest

from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import training_steps
from rq_jax.jobs.plan import chips
from rq_jax.jobs.plan import estimate
from tests import tiny

CHIP = chips.Chip(
    name='x', bytes_per_second=1.0, flops16=3e9, flops32=2e9, source='a table'
)


@pytest.fixture
def clock(monkeypatch):
  """Takes three steps at 4, 1 and 2 seconds; returns their metrics."""
  taken = []

  def measure(fn, repeats):
    assert repeats == 3
    taken.extend(jax.device_get([fn(), fn()]))
    return timing.Timing(
        first=12.0, compiler=9.0, seconds=(4.0, 1.0, 2.0), cpu_seconds=(7.0,)
    )

  monkeypatch.setattr(timing, 'measure', measure)
  monkeypatch.setattr(timing, 'calibrate', lambda dtype: CHIP)
  return taken


@pytest.mark.parametrize(
    'config',
    [
        tiny.stage1_config(mesh=dict(data=2, fsdp=4)),
        tiny.stage2_config(
            model=dict(dtype='bfloat16'), train=dict(accumulate=1)
        ),
    ],
    ids=['stage 1', 'stage 2'],
)
@pytest.mark.slow
def test_a_record_has_the_times_of_a_step_and_its_share_of_the_peak(
    config, clock, tmp_path, capsys
):
  file = tmp_path / 'x.jsonl'
  training_steps.run('tiny', [config], repeats=3, jsonl=str(file))
  record = json.loads(file.read_text())
  assert record['seconds'] == {'median': 2.0, 'min': 1.0, 'max': 4.0}
  assert record['images_per_second'] == tiny.BATCH / 2
  assert record['cpu_seconds'] == 7
  assert record['compile_seconds'] == {'first_call': 10.0, 'compiler': 9.0}
  assert record['stage'] == config.stage
  assert record['mesh'] == {
      'data': 8 if config.stage == 2 else 2,
      'fsdp': 1 if config.stage == 2 else 4,
      'model': 1,
  }
  # The plan counts the operations for one image.
  plan = estimate.make(config, devices=8)
  assert record['peak']['step_flops'] == round(plan.step_flops * tiny.BATCH)
  peak = 3e9 if config.stage == 2 else 2e9
  assert record['peak']['share'] == pytest.approx(
      plan.step_flops * tiny.BATCH / 2 / 8 / peak, rel=1e-12
  )
  missing = 'The tokenizer does not exist yet: its networks are not counted.'
  assert record['notes'] == ([missing] if config.stage == 2 else [])
  # Two steps of training: finite losses, which differ.
  losses = [float(metrics['loss']) for metrics in clock]
  assert np.all(np.isfinite(losses)) and losses[0] != losses[1]
  text = capsys.readouterr().out
  assert [
      row
      for row in text.splitlines()
      if row.split()[:6] == ['8', '2', '1', '4', '7', '4']
  ]
  assert json.dumps(record) in text


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(mesh=dict(data=3)), 'config.mesh'),
        (
            dict(data=dict(batch_size=12)),
            'config.data.batch_size=12 must be a multiple of 8',
        ),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_at_once(
    changes, words, monkeypatch
):
  monkeypatch.setattr(training_steps, 'measure', None)
  configs = [tiny.stage1_config(), tiny.stage1_config(**changes)]
  with pytest.raises(ValueError, match=words):
    training_steps.run('tiny', configs, repeats=1)


def test_too_little_memory_is_a_sentence_and_other_batches_are_timed(
    monkeypatch, tmp_path
):
  timed = []

  def measure(name, config, repeats):
    if config.data.batch_size == 8:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 5 bytes')
    timed.append((name, config.data.batch_size, repeats))
    return {'x': 1}

  monkeypatch.setattr(training_steps, 'measure', measure)
  monkeypatch.setattr(training_steps, 'table', lambda records: 'table')
  configs = [tiny.stage1_config(data=dict(batch_size=size)) for size in (8, 16)]
  with pytest.raises(ValueError) as caught:
    training_steps.run(
        'tiny', configs, repeats=4, jsonl=str(tmp_path / 'x.jsonl')
    )
  assert str(caught.value) == (
      'tiny, batch 8: There is not enough memory. Give a smaller --batch_size,'
      ' or a larger --config.train.accumulate.'
  )
  assert timed == [('tiny', 16, 4)]
  assert json.loads((tmp_path / 'x.jsonl').read_text()) == {'x': 1}
