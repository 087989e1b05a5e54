"""Digits cut to 24x32 pixels go through both stages, as square images do."""

import functools
import json

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax import __main__ as main_lib
from rq_jax import config
from rq_jax.data.feature_cache import layout
from rq_jax.data.sources import digits
from rq_jax.sampling import Sampler
from tests import folders
from tests import tiny

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 24, 32
MAP = (3, 4, 2)  # Cells of 8x8 pixels.
DATA = dict(image_size=(HEIGHT, WIDTH), batch_size=8)
LABELS = [3, 7, 0, 5]


def _main(command, experiment, folder, *flags):
  """Runs a command on an experiment that is stored as a run stores it."""
  file = folders.new() / 'config.json'
  file.write_text(config.to_json(experiment))
  flags = [*flags, f'--config={file}']
  assert main_lib.main([command, *flags]) == 0, folder
  return folder


@functools.cache
def _stage1():
  return tiny.stage1_config(
      data=DATA,
      model=dict(
          image_size=(HEIGHT, WIDTH),
          channel_multipliers=(1, 1, 1, 1),
          code_shape=MAP,
      ),
      train=dict(steps=2, checkpoint_steps=2, eval_steps=2, eval_images=16),
  )


@functools.cache
def _trained():
  """Folders of an RQ-VAE, a cache of its features, and a prior of its codes."""
  folder = folders.made_once('not_square', _train)
  return folder / 'rqvae', folder / 'cache', folder / 'prior'


def _train(folder):
  rqvae, cache, prior = (folder / n for n in ('rqvae', 'cache', 'prior'))
  _main('train', _stage1(), rqvae, f'--workdir={rqvae}')
  flags = (f'--tokenizer={rqvae}', f'--out={cache}')
  _main('encode', _stage1(), cache, *flags)
  _main('train', _stage2(rqvae, cache), prior, f'--workdir={prior}')


def _stage2(rqvae, cache):
  return tiny.stage2_config(
      tokenizer=str(rqvae),
      data=DATA | dict(source='features', path=str(cache)),
      model=dict(code_shape=MAP, embed_dim=4),
      loss=dict(label_dropout=0.1),
      train=dict(steps=2, checkpoint_steps=2, eval_steps=2, eval_images=16),
  )


@functools.cache
def _sampler():
  return Sampler.restore(str(_trained()[2]), verbose=False)


@functools.cache
def _images(count=4):
  """Held-out digits of 32x32 pixels without their first and last four rows."""
  source = digits.Digits('test', 32)
  return np.stack([source[i]['image'][4:28] for i in range(count)])


def test_the_cache_has_features_of_cut_digits():
  _, cache, _ = _trained()
  meta = json.loads((cache / 'test' / layout.META).read_text())
  assert meta['shape'] == [3, 4, 4]
  stored = np.load(next((cache / 'test').glob('features-*.npy')))
  tokenizer = _sampler().tokenizer
  np.testing.assert_allclose(
      stored[:4, 0], tokenizer.features(_images()), rtol=1e-3, atol=1e-3
  )


def test_previews_show_whole_images():
  rqvae, _, prior = _trained()
  # Borders of two pixels; eight reconstructions by depth, and eight samples.
  for folder, name, rows in ((rqvae, 'recons*', 3), (prior, 'samples*', 1)):
    (file,) = (folder / 'images').glob(f'{name}.png')
    with Image.open(file) as picture:
      assert picture.size == (8 * (WIDTH + 2) + 2, rows * (HEIGHT + 2) + 2)


def test_images_are_sampled_to_files(tmp_path):
  flags = [f'--checkpoint={_trained()[2]}', f'--out={tmp_path}']
  flags += ['--num_images=3', '--chunk_size=8', '--format=npz']
  assert main_lib.main(['sample', *flags]) == 0
  with np.load(tmp_path / 'samples.npz') as archive:
    drawn = archive['arr_0']
  assert drawn.shape == (3, HEIGHT, WIDTH, 3)
  expected = _sampler()(jax.random.key(0), labels=[0, 1, 2])
  # Another number of images at a time may round a pixel differently.
  np.testing.assert_allclose(drawn, np.int32(expected), atol=1)
  with Image.open(tmp_path / 'grid.png') as picture:
    assert picture.size == (2 * (WIDTH + 2) + 2, 2 * (HEIGHT + 2) + 2)


def test_an_edit_changes_the_cells_of_its_mask_and_no_others():
  redraw = np.zeros((HEIGHT, WIDTH), bool)
  redraw[15, 24] = redraw[16, 7] = True  # Cells (1, 3) and (2, 0).
  cells = np.zeros((3, 4), bool)
  cells[1, 3] = cells[2, 0] = True
  images, key = _images(), jax.random.key(1)
  edited = _sampler().edit(key, images, redraw, labels=LABELS)
  tokenizer = _sampler().tokenizer
  codes = tokenizer.encode(images)
  completed = _sampler().complete(key, codes, ~cells, labels=LABELS)
  np.testing.assert_array_equal(completed[:, ~cells], codes[:, ~cells])
  assert (completed[:, cells] != codes[:, cells]).any()
  whole = np.kron(cells, np.ones((8, 8), bool))[..., None]
  decoded = tokenizer.decode(completed)
  np.testing.assert_array_equal(edited, np.where(whole, decoded, images))


def test_rows_are_streamed_in_order():
  key = jax.random.key(2)
  codes = np.asarray(_sampler().codes(key, labels=LABELS))
  assert codes.shape == (4, *MAP)
  rows = list(_sampler().stream(key, labels=LABELS))
  assert len(rows) == 3
  for i, maps in enumerate(rows):
    expected = codes.copy()
    expected[:, i + 1 :] = -1
    np.testing.assert_array_equal(maps, expected)


def test_images_with_height_and_width_exchanged_are_refused():
  turned = _images().transpose(0, 2, 1, 3)
  with pytest.raises(ValueError, match=r'\[B, 24, 32, 3\]. Resize .* 24 x 32 '):
    _sampler().tokenizer.encode(turned)
  redraw = np.zeros((WIDTH, HEIGHT), bool)
  with pytest.raises(ValueError, match=r'shape \[24, 32\] or \[4, 24, 32\]'):
    _sampler().edit(jax.random.key(0), _images(), redraw, labels=LABELS)
  assert 'images 24x32, codes 3x4x2' in repr(_sampler())


def test_a_prior_trains_on_images_of_its_tokenizers_size_only(tmp_path, capsys):
  rqvae, cache, _ = _trained()
  turned = dict(source='digits', path=None, image_size=(WIDTH, HEIGHT))
  experiment = tiny.changed(_stage2(rqvae, cache), data=turned)
  file = tmp_path / 'config.json'
  file.write_text(config.to_json(experiment))
  flags = [f'--config={file}', f'--workdir={tmp_path / "run"}']
  assert main_lib.main(['train', *flags]) == 1
  message = capsys.readouterr().err
  assert '24x32 pixels. Set --config.data.image_size=24,32.' in message


def test_both_stages_are_planned(capsys):
  rqvae, cache, _ = _trained()
  for experiment in (_stage1(), _stage2(rqvae, cache)):
    _main('train', experiment, None, '--dry_run', '--workdir=unused')
  assert capsys.readouterr().out.count('Memory of each device') == 2
