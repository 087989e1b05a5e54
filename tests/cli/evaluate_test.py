"""The command evaluate: its flags, and models that are judged directly."""

import json
import os
import re

import numpy as np
from PIL import Image
import pytest

from rq_jax import __main__ as main_lib
from rq_jax.evaluation import similarity
from rq_jax.jobs.evaluate import chunk_files
from rq_jax.jobs.sample import drawing
from tests import tiny
from tests.jobs import generators
from tests.jobs.evaluate import fakes


@pytest.fixture(scope='module')
def generator(tmp_path_factory):
  path = tmp_path_factory.mktemp('generator')
  generators.export(path)
  return path


def evaluate(*flags):
  return main_lib.main(['evaluate', '--distributed=off', *map(str, flags)])


def results(out):
  return json.loads((out / 'results.json').read_text())


def test_reconstructions_are_compared_with_their_originals(
    generator, tmp_path, capsys
):
  out = tmp_path / 'out'
  flags = [f'--tokenizer={generator}/tokenizer', '--reference=rfid']
  assert evaluate(*flags, f'--out={out}') == 0
  originals = np.asarray(np.round((tiny.images(359) + 1) * 127.5), np.uint8)
  tokenizer = generators.sampler().tokenizer
  made = np.asarray(tokenizer.decode(tokenizer.encode(originals[:32])))
  rows = chunk_files.read(chunk_files.path(out, 0))
  assert len(rows['pixels/psnr']) == 128
  np.testing.assert_allclose(
      rows['pixels/psnr'][:32, 0],
      similarity.psnr(made, originals[:32]),
      rtol=1e-5,
  )
  found = {r['metric']: r for r in results(out)['results']}
  assert found.keys() == {'psnr', 'ssim'}
  assert found['psnr']['n'] == 359
  printed = capsys.readouterr().out
  assert 'psnr' in printed and 'Left out' in printed
  assert 'judged at' in printed and f'{out}/report.html' in printed
  page = (out / 'report.html').read_text()
  assert 'Samples' in page and found['psnr']['fingerprint']['hash'] in page


def test_drawn_images_are_those_that_sample_writes(
    generator, tmp_path, monkeypatch
):
  model = [f'--checkpoint={generator}', '--num_images=20', '--seed=3']
  model += ['--labels=4,2', '--top_k=5', '--chunk_size=8']
  files = [*model, f'--out={tmp_path}/files', '--format=npz']
  assert main_lib.main(['sample', '--distributed=off', *files]) == 0
  judged = ['--inception=unused', '--dialect=rq', '--reference=test']
  with fakes.networks_replaced(monkeypatch):
    assert evaluate(*model, *judged, f'--out={tmp_path}/drawn') == 0
    assert (
        evaluate(
            f'--samples={tmp_path}/files',
            '--chunk_size=8',
            '--inception=unused',
            '--dialect=rq',
            f'--out={tmp_path}/read',
        )
        == 0
    )
  for chunk in range(3):
    drawn, read = (
        chunk_files.read(chunk_files.path(tmp_path / name, chunk))
        for name in ('drawn', 'read')
    )
    name = f'{fakes.NETWORK}/logits'
    np.testing.assert_array_equal(drawn[name], read[name])
  found = results(tmp_path / 'drawn')
  metrics = {r['metric']: r for r in found['results']}
  assert metrics['fid']['n_reference'] == 359
  said = metrics['fid']['fingerprint']['images']
  assert said['sampling']['top_k'] == 5 and said['seed'] == 3
  assert not list((tmp_path / 'drawn').glob('*.png'))


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ([], 'Give one of --samples, --checkpoint and --tokenizer, not none'),
        (['--samples=a', '--tokenizer=b'], 'not --samples, --tokenizer'),
        (['--samples=a'], '--out must be given'),
        (['--samples=a', '--out=o', '--labels=1'], '--labels=.* no meaning'),
        (['--samples=a', '--out=o', '--top_k=5'], '--top_k=.* no meaning'),
        (['--samples=a', '--out=o', '--noema'], '--ema=.* no meaning'),
        (['--checkpoint=a', '--out=o', '--split=train'], '--split=train has'),
        (['--samples=a', '--out=o', '--data=d'], '--data=d has no meaning'),
        (['--samples=a', '--out=o', '--reference=rfid'], 'needs --tokenizer'),
        (
            ['--samples=a', '--out=o', '--metrics=is', '--clip=c'],
            '--inception is not given',
        ),
        (['--tokenizer=a', '--out=o', '--image_size=3'], 'no meaning'),
        (
            ['--samples=a', '--out=o', '--classifier_classes=c'],
            '--classifier_classes=c has no meaning',
        ),
        (['--samples=a', '--out=o', '--metrics='], '--metrics is empty'),
        (['--samples=a', '--out=o', '--dialect='], '--dialect is empty'),
    ],
)
def test_wrong_flags_are_refused(flags, words, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert evaluate(*flags) == 1
  error = capsys.readouterr().err
  assert error.startswith('Error: ')

  assert re.search(words, error)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--dialect=mine'], '--dialect=mine is unknown'),
        (['--metrics=fid'], 'fid .* is not possible: --reference is not given'),
        (['--reference=nothing.npz'], '--reference=nothing.npz is not a file'),
        ([], '--inception=folder holds no network.json'),
    ],
)
def test_flags_are_refused_before_a_model_is_restored(
    flags, words, generator, tmp_path, capsys, monkeypatch
):
  def fail(*_, **__):
    raise AssertionError('The model was restored.')

  monkeypatch.setattr(drawing, 'restore', fail)
  (tmp_path / 'folder').mkdir()
  monkeypatch.chdir(tmp_path)
  model = [f'--checkpoint={generator}', '--inception=folder', '--out=out']
  assert evaluate(*model, *flags) == 1
  assert re.search(words, capsys.readouterr().err)
  assert not (tmp_path / 'out').exists()


def test_samples_that_do_not_exist_are_refused(tmp_path, capsys):
  images = fakes.write(tmp_path / 'a.npz', 4)
  flags = [f'--reference={images}', f'--out={tmp_path}/o', '--metrics=psnr']
  assert evaluate('--samples=a', *flags) == 1
  assert '--samples=a: there is no such file' in capsys.readouterr().err


def test_a_dialect_that_does_not_exist_is_refused(tmp_path, capsys):
  samples = fakes.write(tmp_path / 'a.npz', 4)
  flags = [f'--samples={samples}', f'--out={tmp_path}/out', '--dialect=mine']
  assert evaluate(*flags) == 1
  assert '--dialect=mine is unknown' in capsys.readouterr().err


def images_of_two_sizes(folder):
  folder.mkdir()
  for i in range(12):
    Image.new('RGB', (8 + i // 11, 8)).save(folder / f'{i:02d}.png')
  return folder


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (
            ['--out=file/below'],
            '--out=file/below cannot be written: .*/file is not a folder.'
            ' Choose another --out',
        ),
        (
            ['--out=out', '--save_reference=file/x.npz'],
            '--save_reference=file/x.npz cannot be written: .*/file is not a'
            ' folder. Choose another --save_reference',
        ),
        (
            ['--out=out', '--save_reference=mixed'],
            '--save_reference=mixed is a folder. Name a file in it',
        ),
        (
            ['--out=closed/out'],
            '--out=closed/out cannot be written: .*/closed is read-only',
        ),
        (
            ['--out=out', '--reference=mixed'],
            '--reference=mixed has images of different sizes',
        ),
    ],
)
def test_paths_and_sizes_are_refused_before_a_model_is_restored(
    flags, words, generator, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'file').write_text('')
  (tmp_path / 'closed').mkdir()
  images_of_two_sizes(tmp_path / 'mixed')
  access = os.access
  # The tests may run as root, who may write everywhere.
  monkeypatch.setattr(
      os,
      'access',
      lambda path, mode: (
          access(path, mode)
          and not (mode & os.W_OK and str(path).endswith('/closed'))
      ),
  )
  monkeypatch.setattr(drawing, 'restore', None)
  flags = ['--reference=test', '--inception=unused', '--dialect=rq', *flags]
  with fakes.networks_replaced(monkeypatch):
    assert evaluate(f'--checkpoint={generator}', *flags) == 1
  assert re.search(words, capsys.readouterr().err)
  assert not list(tmp_path.glob('*/*.json')) and not (tmp_path / 'out').exists()


def test_samples_of_two_sizes_can_be_resized_in_the_same_folder(
    tmp_path, capsys, monkeypatch
):
  samples = images_of_two_sizes(tmp_path / 'mixed')
  flags = [f'--samples={samples}', '--inception=unused', '--dialect=rq']
  flags.append(f'--out={tmp_path}/out')
  with fakes.networks_replaced(monkeypatch):
    assert evaluate(*flags) == 1
    assert 'Set --image_size' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert evaluate(*flags, '--image_size=64') == 0
  assert results(tmp_path / 'out')['results'][0]['n'] == 12
