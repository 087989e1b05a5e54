"""A run keeps the names of its classes, and refuses others."""

import json

import numpy as np
from PIL import Image
import pytest

from rq_jax.checkpoints import class_names
from rq_jax.training import run
from tests import tiny
from tests.training import begun_runs

pytestmark = pytest.mark.usefixtures('no_step')


def write_images(folder, names):
  for name in names:
    for i in range(5):
      file = folder / name / f'{i}.png'
      file.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file)
  return dict(source='image_folder', path=str(folder))


def begin(config, folder):
  with pytest.raises(AssertionError, match='Training began'):
    run.train(config, folder)


def test_a_run_of_stage_1_keeps_its_classes(tmp_path, capsys):
  data = write_images(tmp_path / 'images', ['2', '10', '__MACOSX'])
  config = tiny.stage1_config(data=data)
  begin(config, tmp_path / 'run')
  assert class_names.read(tmp_path / 'run') == ('2', '10')
  ignored = 'images: system files and folders (1).\n'
  assert capsys.readouterr().out.count(ignored) == 1
  begin(config, tmp_path / 'run')
  (tmp_path / 'images' / '10').rename(tmp_path / 'images' / '1')
  with pytest.raises(ValueError, match="label 0 was '2' in .*, and is '1'"):
    run.train(config, tmp_path / 'run')
  assert class_names.read(tmp_path / 'run') == ('2', '10')


def test_an_older_run_keeps_its_order_and_gets_its_names(tmp_path, capsys):
  data = write_images(tmp_path / 'images', ['2', '10'])
  old = dict(exif_rotation=False, class_order='alphabetical')
  begin(tiny.stage1_config(data=data | old), tmp_path / 'run')
  file = tmp_path / 'run' / 'config.json'
  stored = json.loads(file.read_text())
  for name in old:
    del stored['data'][name]
  file.write_text(json.dumps(stored))
  (tmp_path / 'run' / 'classes.json').unlink()
  for _ in range(2):  # The first start stores the fields.
    capsys.readouterr()
    begin(tiny.stage1_config(data=data), tmp_path / 'run')
    assert (
        'began with config.data.exif_rotation=False,'
        ' config.data.class_order=alphabetical, and keeps this.\n'
    ) in capsys.readouterr().out
    assert class_names.read(tmp_path / 'run') == ('10', '2')
    assert json.loads(file.read_text())['data'].items() >= old.items()


def test_a_newer_run_keeps_the_defaults_it_began_with(tmp_path, capsys):
  data = write_images(tmp_path / 'images', ['2', '10'])
  begin(tiny.stage1_config(data=data), tmp_path / 'run')
  begin(tiny.stage1_config(data=data), tmp_path / 'run')
  assert 'keeps this' not in capsys.readouterr().out
  changed = dict(class_order='alphabetical')
  with pytest.raises(ValueError, match='class_order .was .natural., is'):
    run.train(tiny.stage1_config(data=data | changed), tmp_path / 'run')


def test_runs_on_other_sources_resume_whatever_these_fields_are(tmp_path):
  """A source that reads no folders has the same examples."""
  old = dict(exif_rotation=False, class_order='alphabetical')
  begin(tiny.stage1_config(data=old), tmp_path / 'run')
  begin(tiny.stage1_config(), tmp_path / 'run')


def test_a_run_of_stage_2_has_the_names_of_its_cache_and_its_tokenizer(
    tmp_path,
):
  cache = begun_runs.write_cache(
      tmp_path / 'cache', train=2, test=2, class_names=('ant', 'bee')
  )
  mine = begun_runs.exported(tmp_path / 'mine', seed=0)
  class_names.write(mine, ['x', 'y', 'z'])
  config = tiny.stage2_config(
      tokenizer=mine,
      data=dict(source='features', path=str(cache)),
      model=dict(num_classes=2),
  )
  begin(config, tmp_path / 'run')
  assert class_names.read(tmp_path / 'run') == ('ant', 'bee')
  assert class_names.read(tmp_path / 'run' / 'tokenizer') == ('x', 'y', 'z')


def test_a_source_without_names_leaves_no_file(tmp_path):
  begin(tiny.stage1_config(), tmp_path / 'run')
  assert not (tmp_path / 'run' / 'classes.json').exists()
