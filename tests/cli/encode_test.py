"""The flags of `encode`: the data of the tokenizer, changes, and --verify."""

import pytest

from rq_jax import __main__ as main_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.jobs.encode import job as encode
from tests import tiny
from tests.data import caches

DIGITS = 'configs/digits/rqvae.py'


@pytest.fixture
def run(tmp_path):
  """The folder of a tokenizer that was trained on a folder of images."""
  folder = tmp_path / 'run'
  folder.mkdir()
  photos = tmp_path / 'photos'
  photos.mkdir()
  data = dict(source='image_folder', path=str(photos), crop='random')
  stored.write_config(folder, tiny.stage1_config(seed=5, data=data))
  return folder


@pytest.fixture
def asked(monkeypatch):
  """The arguments of all encodings that commands ask for."""
  found = []

  def record(tokenizer, data, out, **options):
    found.append((tokenizer, data, out, options))
    return 'Encoded.'

  monkeypatch.setattr(encode, 'run', record)
  return found


def command(*flags):
  return main_lib.main(['encode', *flags])


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(
    run, capsys, monkeypatch
):
  (run / 'file').write_text('')
  monkeypatch.setattr(stored, 'read_rqvae', None)
  assert command(f'--tokenizer={run}', f'--out={run}/file/cache') == 1
  assert (
      f'--out={run}/file/cache cannot be written: {run}/file is not a folder.'
      in capsys.readouterr().err
  )


def test_data_and_seed_are_those_of_the_tokenizer(run, asked, capsys):
  flags = [f'--tokenizer={run}', '--out=cache']
  assert command(*flags) == 0
  assert command(*flags, '--views=4', '--config.data.path=others') == 0
  (_, data, out, options), (_, changed, _, more) = asked
  assert (data.source, data.path, data.crop) == (
      'image_folder',
      f'{run.parent}/photos',
      'random',
  )
  assert (out, options) == ('cache', {'views': 1, 'seed': 5})
  assert (changed.path, changed.crop) == ('others', 'random')
  assert more == {'views': 4, 'seed': 5}
  assert (
      f"Data: 'image_folder' in {run.parent}/photos." in capsys.readouterr().out
  )


def test_a_configuration_file_replaces_the_data_of_the_tokenizer(run, asked):
  flags = [f'--tokenizer={run}', '--out=cache', f'--config={DIGITS}']
  assert command(*flags, '--config.data.batch_size=7') == 0
  ((_, data, _, options),) = asked
  assert (data.source, data.batch_size) == ('digits', 7)
  assert options == {'views': 1, 'seed': 0}


def test_a_converted_checkpoint_needs_the_path_of_its_images(
    tmp_path, monkeypatch, capsys
):
  """Its config names the dataset as the official code does."""
  monkeypatch.chdir(tmp_path)
  data = dict(source='image_folder', path='imagenet')
  inference_copy.export(
      tmp_path / 'converted',
      tiny.stage1_config(data=data),
      tiny.untrained_tokenizer().variables,
  )
  assert command('--tokenizer=converted', '--out=cache') == 1
  error = capsys.readouterr().err
  assert error == (
      "Error: converted was trained on config.data.path='imagenet', which does"
      ' not exist here. A converted checkpoint records no path, only the name'
      ' of its dataset. Set --config.data.path to the images to encode, and'
      ' --config.data.source if they are not a folder of images.\n'
  )
  assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ([], '--tokenizer and --out must be given'),
        (['--tokenizer={0}', '--out=a', '--config.data.no=1'], 'data.no'),
        (['--verify'], '--out must be given'),
        (['--verify', '--out=a', '--views=2'], '--views=2 has no meaning'),
        (
            ['--verify', '--out=a', '--config.data.flip'],
            '--config.data.flip has no meaning with --verify',
        ),
        (['--verify', '--out={0}/none'], 'none has no folder train/'),
    ],
)
def test_flags_that_cannot_be_used_are_named(flags, words, run, capsys):
  assert command(*[flag.format(run) for flag in flags]) == 1
  assert words in capsys.readouterr().err


def test_verify_names_the_file_that_differs(tmp_path, capsys):
  caches.write(tmp_path, *caches.examples(5), 2)
  assert command('--verify', f'--out={tmp_path}') == 0
  assert f'All files of {tmp_path} are as they were' in capsys.readouterr().out
  file = tmp_path / 'train' / 'features-00001-of-00002.npy'
  content = bytearray(file.read_bytes())
  content[-1] ^= 1
  file.write_bytes(content)
  assert command('--verify', f'--out={tmp_path}') == 1
  error = capsys.readouterr().err
  assert 'features-00001-of-00002.npy changed since encoding' in error
  assert 'features-00000' not in error
