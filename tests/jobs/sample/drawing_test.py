"""Drawing in chunks: the images, the devices and the checkpoint."""

import functools
import re

import jax
import numpy as np
import pytest

from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.sampling import Sampler
from tests.jobs import generators

KEY = jax.random.key(5)
LABELS = [4, 2]


@functools.cache
def sampler():
  return generators.sampler()


def test_chunks_of_any_size_draw_the_same_codes():
  drawing = generators.drawing(sampler(), kind='labels', values=LABELS)
  conditions = drawing.conditions

  def codes(size):
    chunks = [
        sampler().codes(KEY, first_index=start, **conditions.rows(start, size))
        for start in range(0, 7, size)
    ]
    return np.concatenate(chunks)[:7]

  np.testing.assert_array_equal(codes(1), codes(8)[:7])
  np.testing.assert_array_equal(codes(3), codes(8)[:7])


@pytest.mark.parametrize('seed', [-1, 2**32, 2**70, 1.5])
def test_a_seed_of_more_than_32_bits_is_refused(seed):
  with pytest.raises(
      ValueError, match=r'must be a whole number in \[0, 2\*\*32'
  ):
    generators.drawing(sampler(), seed=seed)


def test_images_are_those_of_the_sampler_and_padding_is_dropped():
  drawing = generators.drawing(sampler(), kind='labels', values=LABELS)
  labels = np.array([4, 2, 4, 2, 4, 2, 4, 4, 4])
  rows = [
      sampler()(KEY, labels=labels[start : start + 3], first_index=start)
      for start in (0, 3, 6)
  ]
  np.testing.assert_array_equal(drawing.images(), np.concatenate(rows)[:7])


def test_only_the_first_chunk_says_that_it_compiles(capsys):
  drawing = generators.drawing(sampler(), kind='labels', values=LABELS)
  assert len(list(drawing.chunks(range(3)))) == 3
  first, second = capsys.readouterr().out.splitlines()
  assert first == 'Compiling the sampler (once per shape) ...'
  assert re.fullmatch(r'Compiled in \d+\.\d s\.', second)


def test_the_next_chunk_is_under_way_when_one_is_handed_out(monkeypatch):
  calls, call = [], Sampler.__call__

  def draw(self, *args, first_index, **kwargs):
    calls.append(first_index)
    return call(self, *args, first_index=first_index, **kwargs)

  monkeypatch.setattr(Sampler, '__call__', draw)
  drawing = generators.drawing(sampler(), kind='labels', values=LABELS)
  seen = [(number, list(calls)) for number, _ in drawing.chunks([0, 2, 1])]
  assert seen == [(0, [0, 6]), (2, [0, 6, 3]), (1, [0, 6, 3])]


def test_a_chunk_is_drawn_before_the_next_is_judged(monkeypatch):
  events = []

  def draw(self, key, *, first_index, **asked):
    events.append(f'draw {first_index}')
    return np.full(3, first_index)

  def wait(images):
    events.append(f'drawn {images[0]}')

  monkeypatch.setattr(Sampler, '__call__', draw)
  monkeypatch.setattr(jax, 'block_until_ready', wait)
  drawing = generators.drawing(sampler(), kind='labels', values=LABELS)
  assert [number for number, _ in drawing.chunks([0, 2])] == [0, 2]
  assert events == ['draw 0', 'drawn 0', 'draw 6', 'drawn 6']


@pytest.mark.slow
def test_what_was_checked_can_be_drawn_and_no_more_is_computed(monkeypatch):
  # A shape for which no other test compiles a program.
  fresh = generators.sampler(width=24, heads=3)
  drawing = generators.drawing(
      fresh, kind='labels', values=LABELS, num_images=2, chunk_size=50
  )
  asked = []
  call = Sampler.__call__

  def draw(self, *args, labels, **kwargs):
    asked.append(len(labels))
    return call(self, *args, labels=labels, **kwargs)

  monkeypatch.setattr(Sampler, '__call__', draw)
  drawing.check()
  assert drawing.images().shape == (2, 16, 16, 3)
  assert asked == [2]


@pytest.mark.slow
def test_the_devices_of_a_process_split_chunk_and_model(tmp_path):
  generators.export(tmp_path)
  spread, origin = drawing_lib.restore(
      str(tmp_path), chunk_size=8, model_parallel=2
  )
  assert dict(spread.mesh.shape) == {'data': 4, 'fsdp': 1, 'model': 2}
  assert spread.mesh.devices.size == 8
  assert origin == {
      'checkpoint': str(tmp_path),
      'step': 0,
      'ema': False,
      'dtype': 'float32',
  }
  fields = dict(chunk_size=8, format='npz', origin=origin)
  generators.run(tmp_path / 'out', spread, **fields)
  with np.load(tmp_path / 'out' / 'samples.npz') as arrays:
    images = arrays['arr_0'].astype(int)
  alone = np.asarray(sampler()(KEY, labels=range(7)), int)
  # Sums over devices round differently, so a pixel may be one level off.
  assert np.abs(images - alone).max() <= 1


@pytest.mark.parametrize(
    ('options', 'step', 'ema'),
    [(dict(), 1, True), (dict(ema=False), 1, False), (dict(step=0), 0, False)],
)
def test_the_step_and_the_averages_are_told(options, step, ema, tmp_path):
  generators.export(tmp_path)
  with runs.Checkpoints(tmp_path, keep=2) as checkpoints:
    params = sampler().prior_variables['params']
    state = {'params': params, 'ema_params': params}
    checkpoints.save(1, state, {})
  _, origin = drawing_lib.restore(str(tmp_path), chunk_size=8, **options)
  assert (origin['step'], origin['ema']) == (step, ema)


@pytest.mark.slow
def test_a_step_whose_arrays_are_damaged_is_passed_over(tmp_path, monkeypatch):
  generators.export(tmp_path)
  with runs.Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.save(1, {'params': sampler().prior_variables['params']}, {})
  restore = stored._restore

  def damaged(path, step, *arguments):
    if step == 1:  # Like an error of Orbax.
      raise Exception('Encountered error') from ValueError('DATA_LOSS: cut off')
    return restore(path, step, *arguments)

  monkeypatch.setattr(stored, '_restore', damaged)
  restored, origin = drawing_lib.restore(str(tmp_path), chunk_size=8)
  assert (origin['step'], origin['ema']) == (0, False)
  np.testing.assert_array_equal(
      restored.codes(KEY, labels=[1] * 8), sampler().codes(KEY, labels=[1] * 8)
  )
  with pytest.raises(ValueError, match='1 of .* cannot be read: DATA_LOSS'):
    drawing_lib.restore(str(tmp_path), chunk_size=8, step=1)


def test_a_process_with_one_device_needs_no_mesh(tmp_path, monkeypatch):
  generators.export(tmp_path)
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
  restored, origin = drawing_lib.restore(
      str(tmp_path), chunk_size=3, kernels='interpret'
  )
  assert restored.mesh is None
  assert restored.kernels == origin['kernels'] == 'interpret'
  assert 'weights' not in origin
  restored, origin = drawing_lib.restore(
      str(tmp_path), chunk_size=3, weights='int8'
  )
  assert restored.weights == origin['weights'] == 'int8'
  assert 'kernels' not in origin


@pytest.mark.parametrize(
    ('devices', 'model_parallel', 'size'),
    [(1, 1, 100), (8, 1, 104), (8, 2, 100), (6, 2, 102), (1, 3, 100)],
)
def test_a_chunk_is_a_hundred_that_devices_can_split(
    devices, model_parallel, size, monkeypatch
):
  monkeypatch.setattr(jax, 'local_devices', lambda: [None] * devices)
  assert drawing_lib.default_chunk_size(model_parallel) == size


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(chunk_size=100), '100 must be a multiple of 8.*chunk_size=104'),
        (
            dict(chunk_size=8, model_parallel=3),
            '3 must divide the number of .*, 8',
        ),
        (
            dict(chunk_size=8, kernels='pallas'),
            'kernels=pallas draws on one device, but there are 8.',
        ),
    ],
)
def test_devices_that_do_not_fit_are_refused(options, words):
  with pytest.raises(ValueError, match=words):
    drawing_lib.restore('no/such', **options)
