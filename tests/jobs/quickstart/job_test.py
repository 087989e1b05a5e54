"""The whole pipeline, command by command, on a model of a few steps."""

import json

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax import __main__ as main_lib
from rq_jax import sampling
from rq_jax.data.sources import digits
from rq_jax.data.sources import features
from rq_jax.jobs.quickstart import job
from rq_jax.tokenizer import Tokenizer
from tests import tiny

pytestmark = pytest.mark.slow

TINY = {
    'rqvae.py': {
        'model.channels': 8,
        'model.res_blocks': 0,
        'model.channel_multipliers': (1, 1, 1, 1),
        'model.z_channels': 8,
        'model.embed_dim': 8,
        'model.codebook_size': 16,
        'train.steps': 4,
        'train.log_steps': 1,
        'train.eval_images': 64,
    },
    'rqtransformer.py': {
        'model.codebook_size': 16,
        'model.embed_dim': 8,
        'model.width': 16,
        'model.spatial_layers': 1,
        'model.depth_layers': 1,
        'train.steps': 4,
        'train.log_steps': 1,
        'train.eval_images': 64,
    },
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A quickstart of four steps a stage."""
  patch = pytest.MonkeyPatch()
  load = job._load
  patch.setattr(job, '_load', lambda n, v: load(n, TINY[n] | v))
  patch.setattr(job, '_PER_CLASS', 12)
  patch.setattr(job, '_EVAL_STEPS', 2)
  setup = {'download': 1.5, 'install': 2.5}
  patch.setenv('RQ_JAX_SETUP_SECONDS', json.dumps(setup))
  out = tmp_path_factory.mktemp('quickstart')
  job.quickstart(str(out), seed=3)
  patch.undo()
  return out


@pytest.mark.parametrize('seed', [-1, 2**32, 2**70])
def test_a_seed_of_more_than_32_bits_is_refused_at_once(seed, tmp_path, capsys):
  out = tmp_path / 'out'
  argv = ['quickstart', f'--out={out}', f'--seed={seed}']
  assert main_lib.main(argv) == 1
  assert f'seed={seed} must be a whole number in [0, 2**32)' in (
      capsys.readouterr().err
  )
  assert not out.exists()


def test_the_end_says_figures_verdicts_and_the_time(tmp_path, capsys):
  figures = dict.fromkeys(job.digits.TARGETS, 0.5)
  figures |= {'class_accuracy': 0.97, 'psnr_by_depth': [20.0, 21, 22, 26]}
  job._tell(tmp_path, figures | {'seconds': {'total': 7200.4}})
  _, *rows, _, last = capsys.readouterr().out.splitlines()
  table = {row[:44].strip(): row[44:].split() for row in rows}
  assert table['Class accuracy'] == ['0.970', 'met']
  assert table['Novelty'] == ['0.500', 'MISSED']
  assert table['Reconstruction by depth'][3:] == ['26.0', 'met']
  assert ' '.join(table['Total time']) == (
      f'7200 s typical: {job.page.TYPICAL_TIME}'
  )
  assert last == f'Open {tmp_path / "report.html"} in a browser.'


def test_samples_are_of_the_classes_asked_for(folder):
  with np.load(folder / 'samples.npz') as arrays:
    images, labels = arrays['images'], arrays['labels']
  assert (images.shape, images.dtype) == ((120, 32, 32, 3), np.uint8)
  assert labels.dtype == np.int32
  np.testing.assert_array_equal(np.bincount(labels), [12] * 10)


def test_report_holds_every_figure_and_the_seconds(folder):
  report = json.loads((folder / 'report.json').read_text())
  figures = ['class_accuracy', 'classifier_accuracy', 'diversity_mean']
  figures += ['diversity_min', 'novelty', 'trained_on_generated']
  figures += ['quantization_gap', 'codebook_perplexity']
  assert all(np.isfinite(report[name]) for name in figures)
  assert report['classifier_accuracy'] >= 0.97
  assert len(report['psnr_by_depth']) == 4
  assert report['seed'] == 3
  seconds = report['seconds']
  assert (seconds['download'], seconds['install']) == (1.5, 2.5)
  parts = sum(value for name, value in seconds.items() if name != 'total')
  assert seconds['total'] == pytest.approx(parts, abs=0.5)


def test_report_page_is_there_and_self_contained(folder):
  page = (folder / 'report.html').read_text()
  assert page.count('src="data:image/png;base64,') == 2 + 2 * 5
  assert 'src="http' not in page


def test_charts_of_depths_show_every_step_that_was_logged(folder):
  charts = job._curves(folder)
  depths = ['depth 1', 'depth 2', 'depth 3', 'depth 4']
  losses = charts['RQ-Transformer: training loss by depth']
  assert list(losses) == depths
  for curve in losses.values():
    assert [step for step, _ in curve] == [1, 2, 3, 4]
  psnr = charts['RQ-VAE: held-out PSNR by depth, dB']
  assert list(psnr) == depths
  for curve in psnr.values():
    assert [step for step, _ in curve] == [2, 4]


def test_the_page_shows_digits_of_each_class_depth_by_depth(
    folder, monkeypatch
):
  shown = {}
  monkeypatch.setattr(job.page, 'write_report', lambda *a, **k: shown.update(k))
  tokenizer = Tokenizer.restore(folder / 'rqvae', verbose=False)
  held_out = digits.Digits('test')
  split = [np.stack([x[name] for x in held_out]) for name in ('image', 'label')]
  with np.load(folder / 'samples.npz') as arrays:
    job._write_page(folder, {}, tokenizer, split, split, arrays['images'])
  codes = np.asarray(tokenizer.encode(split[0]))
  first = [np.flatnonzero(split[1] == digit)[0] for digit in range(10)]
  np.testing.assert_array_equal(shown['by_depth'][-1], split[0][first])
  for depth in range(1, 5):
    np.testing.assert_array_equal(
        shown['by_depth'][depth], tokenizer.decode(codes[first], depth=depth)
    )
  # No codes are the same picture for all.
  nothing = shown['by_depth'][0]
  np.testing.assert_array_equal(
      nothing, np.broadcast_to(nothing[:1], nothing.shape)
  )
  real = shown['pictures']['real']
  last = np.flatnonzero(split[1] == 7)[9]
  np.testing.assert_array_equal(
      real[2 + 9 * 34 : 34 * 10, 2 + 7 * 34 : 34 * 8], split[0][last]
  )
  np.testing.assert_array_equal(
      shown['code_counts'], np.bincount(codes.ravel(), minlength=16)
  )


def test_finishing_again_trains_nothing(folder):
  steps = [line['step'] for line in tiny.metric_lines(folder / 'rqvae')]
  assert steps == [1, 2, 2, 3, 4, 4]  # Twice where it evaluates.


def test_cache_holds_the_features_of_the_tokenizer(folder):
  tokenizer = Tokenizer.restore(folder / 'rqvae', verbose=False)
  features.check_fingerprint(str(folder / 'features'), tokenizer.fingerprint)

  held_out = digits.Digits('test')
  cached = features.Features(str(folder / 'features'), 'test')
  assert len(cached) == len(held_out) == 359
  fresh = tokenizer.features(np.stack([held_out[i]['image'] for i in (0, 358)]))
  for i, row in zip((0, 358), np.asarray(fresh), strict=True):
    # Stored in 16 bits, of which 11 are significant.
    (view,) = cached[i]['features']
    np.testing.assert_allclose(view, row, rtol=1e-3, atol=1e-5)
    assert cached[i]['label'] == held_out[i]['label']


def test_a_moved_run_is_a_whole_generator(folder, tmp_path):
  moved = tmp_path / 'moved'
  moved.mkdir()
  (folder / 'rqtransformer').rename(moved / 'generator')
  try:
    sampler = sampling.Sampler.restore(moved / 'generator')
    images = sampler(jax.random.key(0), labels=[3, 7])
    assert images.shape == (2, 32, 32, 3)
  finally:
    (moved / 'generator').rename(folder / 'rqtransformer')


def test_sample_command_writes_the_images_of_the_python_call(
    folder, tmp_path, monkeypatch
):
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
  out = tmp_path / 'samples'
  code = main_lib.main(
      [
          'sample',
          f'--checkpoint={folder / "rqtransformer"}',
          '--num_images=5',
          '--labels=3,7',
          '--chunk_size=2',
          '--seed=11',
          '--top_p=0.9',
          f'--out={out}',
      ]
  )
  assert code == 0
  assert json.loads((out / 'labels.json').read_text()) == [3, 7, 3, 7, 3]
  sampler = sampling.Sampler.restore(folder / 'rqtransformer')
  expected = sampler(
      jax.random.key(11),
      labels=[3, 7],
      sampling=sampling.Sampling(top_p=0.9),
      first_index=2,
  )
  for i in (0, 1):
    written = np.asarray(Image.open(out / f'{2 + i:06d}.png'))
    np.testing.assert_array_equal(written, expected[i])
  with Image.open(out / 'grid.png') as grid:  # 3 columns, 2 rows.
    assert grid.size[0] > 3 * 32 > grid.size[1]


def test_sample_command_refuses_a_label_out_of_range(folder, tmp_path, capsys):
  code = main_lib.main(
      [
          'sample',
          f'--checkpoint={folder / "rqtransformer"}',
          '--labels=10',
          '--chunk_size=8',
          f'--out={tmp_path}',
      ]
  )
  assert code == 1
  assert 'labels=10 is out of range' in capsys.readouterr().err


def test_a_tokenizer_is_not_a_generator(folder, tmp_path, capsys):
  code = main_lib.main(
      [
          'sample',
          f'--checkpoint={folder / "rqvae"}',
          '--chunk_size=8',
          f'--out={tmp_path}',
      ]
  )
  assert code == 1
  assert 'holds an RQ-VAE (stage 1)' in capsys.readouterr().err


def test_encode_command_refuses_images_of_another_size(
    folder, tmp_path, capsys
):
  code = main_lib.main(
      [
          'encode',
          '--config=configs/digits/rqvae.py',
          '--config.data.image_size=64',
          '--config.model.image_size=64',
          f'--tokenizer={folder / "rqvae"}',
          f'--out={tmp_path / "cache"}',
      ]
  )
  assert code == 1
  assert 'encodes images of 32x32' in capsys.readouterr().err
