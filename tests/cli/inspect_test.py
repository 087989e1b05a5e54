"""The command inspect: what it prints and writes, and what it refuses."""

import json

import numpy as np
import pytest

from rq_jax import __main__ as main_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.data import transforms
from tests import pages
from tests import tiny
from tests import tokenizers
from tests.jobs.inspect import images


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return images.write(tmp_path_factory.mktemp('given') / 'images')


def inspect(*flags):
  assert main_lib.main(['inspect', *map(str, flags)]) == 0


def refused(capsys, *flags):
  assert main_lib.main(['inspect', *map(str, flags)]) == 1
  return capsys.readouterr().err


def written(out):
  """The figures and the page that a call left behind."""
  names = sorted(file.name for file in out.iterdir())
  assert names == ['report.html', 'report.json']
  text = (out / 'report.html').read_text('utf-8')
  return json.loads((out / 'report.json').read_text()), text


def test_a_folder_is_described_on_the_terminal_and_on_a_page(
    folder, tmp_path, capsys
):
  inspect(f'--data={folder}', f'--out={tmp_path}')
  text = capsys.readouterr().out
  found, page = written(tmp_path)
  assert found['splits']['train'] == {'images': 13, 'read': 13, 'broken': 1}
  rows = [line.split() for line in text.splitlines()]
  assert ['train', '13', '13', '1'] in rows and ['test', '3', '3', '0'] in rows
  assert 'empty.jpg is not a JPEG, PNG or WebP file' in text
  for sentence in found['warnings']:
    assert sentence in ' '.join(text.split())
    assert sentence in pages.Page(page).text
  assert text.endswith(f'Next:\n\n{found["next"]}\n')
  assert ' '.join(found['next'].split()) in pages.Page(page).text
  long = [line for line in text.splitlines() if len(line) > 80]
  assert all(str(folder) in line or str(tmp_path) in line for line in long)


def test_a_folder_that_cannot_be_made_is_refused(folder, tmp_path, capsys):
  (tmp_path / 'file').touch()
  error = refused(capsys, f'--data={folder}', f'--out={tmp_path / "file"}')
  assert f'--out={tmp_path / "file"} cannot be written: ' in error


def test_the_page_shows_classes_and_copies(folder, tmp_path):
  inspect(f'--data={folder}', f'--out={tmp_path}')
  _, page = written(tmp_path)
  shown = pages.images(page)
  cats, dogs, *copies = shown.values()
  assert cats.shape == dogs.shape == (68, 6 * 66 + 2, 3)
  crop = transforms.evaluate(
      np.asarray(images.noise(10, 100, 120)), image_size=64
  )
  expected = np.round((crop + 1) * 127.5).astype(np.uint8)
  np.testing.assert_array_equal(dogs[2:66, 2:66], expected)
  names = list(shown)[2:]
  assert len(copies) == len(names) == 3
  assert 'leaked.png (test)' in names[0] and 'cat/1.png (train)' in names[0]
  assert 'again.jpg (test)' in names[2]


def test_without_out_nothing_is_written(folder, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  inspect(f'--data={folder}', '--num_images=2')
  assert not list(tmp_path.iterdir())
  text = capsys.readouterr().out
  assert '--out=FOLDER writes this report' in text
  rows = [line.split() for line in text.splitlines()]
  assert ['train', '13', '2', '0'] in rows


def test_fields_of_the_data_can_be_set(folder, capsys):
  inspect(f'--data={folder}', '--config.data.max_pixels=20000')
  assert 'has 300 x 300 pixels' in capsys.readouterr().out


def test_images_that_are_all_broken_are_an_error(tmp_path, capsys):
  for i in range(5):
    (tmp_path / f'{i}.png').write_bytes(b'')
  error = refused(capsys, f'--data={tmp_path}')
  assert 'None of the 5 inspected images can be read. The first:' in error
  assert '0.png is not a JPEG, PNG or WebP file' in error


def test_an_rqvae_is_described_with_the_images_of_its_run(tmp_path, capsys):
  inspect(
      f'--tokenizer={tokenizers.folder()}', f'--out={tmp_path}',
      '--num_images=40',
  )  # fmt: skip
  text = capsys.readouterr().out
  found, page = written(tmp_path)
  assert found['splits']['test']['images'] == 40
  assert found['splits']['test']['of'] == 359
  assert f'{found["temperature"]["suggested"]:.3g}' in text
  words = pages.Page(page).text
  for depth in range(tokenizers.DEPTH):
    psnr = f'{found["splits"]["test"]["psnr"][depth]:.2f} dB'
    assert psnr in text and psnr in words
  for each in found['temperature']['perplexity']:
    for perplexity in each['by_depth']:
      assert f'{perplexity:.1f}' in text and f'{perplexity:.1f}' in words
  # Two strips per depth, and those of the originals.
  assert len(pages.images(page)) == 2 * (tokenizers.DEPTH + 1)


def test_an_rqvae_can_be_described_with_other_images(tmp_path, capsys):
  folder = images.write(tmp_path / 'images')
  (folder / 'train' / 'cat' / 'empty.jpg').unlink()
  inspect(
      f'--tokenizer={tokenizers.folder()}',
      f'--data={folder}',
      f'--out={tmp_path / "out"}',
  )
  found, _ = written(tmp_path / 'out')
  assert found['splits']['train']['images'] == 12
  assert found['path'] == str(folder)
  assert f'12 training and 3 held-out images of {folder}' in (
      capsys.readouterr().out
  )


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        (None, 'does not record the images it was trained on. Give --data'),
        ('no/such', 'on no/such, which does not exist here. Give --data'),
    ],
)
def test_an_rqvae_without_its_images_needs_others(
    path, words, tmp_path, capsys
):
  data = dict(source='image_folder', path=path)
  config = tiny.changed(tokenizers.config(), data=data)
  inference_copy.export(tmp_path / 'rqvae', config, tokenizers.variables())
  assert words in refused(capsys, f'--tokenizer={tmp_path / "rqvae"}')


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ([], '--data or --tokenizer must be given'),
        (['--data=no/such'], '--data=no/such is not a folder'),
        (['--tokenizer=no/such'], 'no/such holds no config.json'),
        (['--tokenizer=x', '--source=image_folder'], 'has no meaning here'),
        (
            ['--data=x', '--config.model.channels=8'],
            '--config.model.channels has no meaning here',
        ),
        (['--data=x', '--num_images=0'], 'num_images'),
        (['--data=x', '--source=features'], '--source'),
    ],
)
def test_mistakes_are_refused_before_anything_is_read(flags, words, capsys):
  assert words in refused(capsys, *flags)
