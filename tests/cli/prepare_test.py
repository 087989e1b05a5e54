"""The command `prepare`: its flags, its errors and what it prints."""

import pytest

from rq_jax import __main__ as main_lib
from rq_jax.data.sources import tfds
from tests.jobs.prepare import archives
from tests.jobs.prepare import folders


def prepare(*flags):
  return main_lib.main(['prepare', '--workers=2', *flags])


def test_imagenet_is_prepared_from_its_archives(tmp_path, capsys):
  src, out = archives.write(tmp_path / 'downloads'), tmp_path / 'out'
  assert prepare('--from=imagenet', f'--src={src}', f'--out={out}') == 0
  assert f'13 images are in {out}; prepared at' in capsys.readouterr().out
  train, test = tfds.Prepared(out), tfds.Prepared(out, 'test')
  assert train.class_names == archives.CLASS_NAMES
  assert (len(train), len(test)) == (9, 4)
  labels = [int(test[i]['label']) for i in range(4)]
  assert tuple(labels) == archives.TRUTH_LABELS
  stored = folders.stored(out, 'train')
  assert {name: content for name, (content, _) in stored.items()} == {
      f'{wnid}/{name}': content
      for wnid, images in archives.training().items()
      for name, content in images.items()
  }


def test_all_options_reach_the_job(tmp_path, capsys):
  folders.write(tmp_path / 'images')
  (tmp_path / 'images' / 'cat' / '00.jpg').write_bytes(b'?')
  flags = (f'--src={tmp_path / "images"}', f'--out={tmp_path / "out"}')
  more = ('--resize=16', '--on_error=skip', '--max_pixels=800')
  assert prepare('--from=folder', *flags, *more) == 0
  printed = capsys.readouterr().out
  assert f'35 images are in {tmp_path / "out"}' in printed
  # One is no image, and two of 24 x 34 and 24 x 35 pixels are too large.
  assert 'left out because they cannot be read: 5.' in printed
  for content, _ in folders.stored(tmp_path / 'out', 'train').values():
    assert min(folders.image_of(content).size) == 16
  refused = (tmp_path / 'out' / 'refused.jsonl').read_text()
  assert '--max_pixels=800' in refused and 'config.data' not in refused


def test_files_of_a_folder_that_are_left_out_are_counted(tmp_path, capsys):
  src = tmp_path / 'images'
  folders.write(src / 'photos', count=3)
  (src / 'photos' / 'cat' / '._00.jpg').touch()
  assert prepare(
      '--from=folder', f'--src={src}', f'--out={tmp_path / "out"}'
  ) == 0  # fmt: skip
  printed = capsys.readouterr().out
  assert f'Ignored in {src}: hidden files and folders (1).' in printed
  assert f'set --src={src / "photos"}.' in printed
  assert '6 images are in' in printed


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--src=x', '--out=y'], '--from must be given'),
        (['--from=folder', '--out=y'], '--src must be given'),
        (
            ['--from=zip', '--src=x', '--out=y'],
            'should be one of <folder|imagenet|',
        ),
        (
            ['--from=folder', '--src=none', '--out=y'],
            "--src='none' is not a folder",
        ),
        (['--from=imagenet', '--src=none', '--out=y'], '--src=none lacks'),
        (
            ['--from=folder', '--src=.', '--out=y/z'],
            '--out=y/z lies in --src=., so its files would mix',
        ),
        (
            ['--from=lsun', '--src=../x', '--out=../x/../x'],
            '--out=../x/../x lies in --src=../x, so',
        ),
        (
            ['--from=folder', '--src=x', '--out=y', '--devkit=z'],
            '--devkit=z has no meaning here',
        ),
        (['--resize=0'], '--resize'),
        (['--on_error=ignore'], '--on_error'),
    ],
)
def test_mistakes_are_errors_in_one_line(
    tmp_path, monkeypatch, capsys, flags, words
):
  monkeypatch.chdir(tmp_path)
  assert prepare(*flags) == 1
  error = capsys.readouterr().err
  assert words in error and error.count('\n') == 1
  assert not list(tmp_path.iterdir())
