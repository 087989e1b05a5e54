"""Configuration files and the config.json of runs are read, or refused."""

import pytest

from rq_jax import config
from rq_jax.config import reading

EXPERIMENT = """
from rq_jax import config

def get_config(steps='5'):
  experiment = config.template(1)
  experiment.train.steps = int(steps)
  experiment.data.source = 'digits'
  return experiment
"""


@pytest.fixture
def file(tmp_path):
  """A configuration file in a folder whose name has a colon."""
  path = tmp_path / 'a:b' / 'experiment.py'
  path.parent.mkdir()
  path.write_text(EXPERIMENT)
  return path


def check(**changes):
  return config.check({'stage': 1, 'train': {'steps': 5}} | changes)


def test_a_file_is_loaded_with_some_fields_set_and_checked(file):
  assert config.load(str(file)) == check()
  changes = {'data.path': 'images', 'seed': 3}
  loaded = config.load(str(file), overrides=changes)
  assert loaded == check(seed=3, data={'path': 'images'})
  with pytest.raises(ValueError, match='batch_size=0 must be positive'):
    config.load(str(file), overrides={'data.batch_size': 0})
  assert config.load_model(str(file)) == config.RQVAEConfig()


def test_what_stands_behind_the_last_colon_is_handed_over(file):
  assert config.load(f'{file}:7').train.steps == 7
  assert reading.split(f'{file}:7:8') == (file, '7:8')
  with pytest.raises(ValueError, match=r'failed in line 6: .*literal for int'):
    config.load(f'{file}:x')


def test_an_experiment_of_a_run_is_read_from_its_file_or_folder(tmp_path):
  made = check(seed=9, model={'res_blocks': 1})
  (tmp_path / 'config.json').write_text(config.to_json(made))
  assert config.load(str(tmp_path / 'config.json')) == made
  assert config.load(str(tmp_path)) == made


def test_the_home_folder_is_expanded(file, monkeypatch):
  monkeypatch.setenv('HOME', str(file.parent))
  assert config.load('~/experiment.py') == check()


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('README.md', '# Title', 'neither a Python file with a function'),
        ('x.json', '{', 'cannot be read as JSON'),
        ('x.json', '[1]', 'holds a list, not an object'),
        ('x.json', '{"stage": 1, "data": {"pth": 1}}', 'Did you mean'),
        ('x.py', 'get_config = 1 / 0', 'failed in line 1: ZeroDivisionError'),
        ('x.py', 'a = 1\nb = a.c', 'failed in line 2: AttributeError'),
        ('x.py', 'a = 1', 'has no function get_config'),
        ('x.py', 'def get_config(): return {}', 'returned a dict, but it must'),
        ('x.py', 'def get_config():\n  raise ValueError("no")', '^no$'),
    ],
)
def test_what_is_no_experiment_is_refused(name, text, message, tmp_path):
  path = tmp_path / name
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    reading.read(str(path))


def test_the_json_of_a_run_takes_no_argument(tmp_path):
  path = tmp_path / 'config.json'
  path.write_text('{"stage": 1}')
  with pytest.raises(ValueError, match='This --config takes no argument'):
    reading.read(f'{path}:x')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train.stepz': 3}, 'Did you mean --config.train.steps?'),
        ({'train.steps': '3'}, "steps='3' is a string, but must be an integer"),
        ({'data': 3}, 'is a section, not a field'),
        ({'stage': 2}, 'config.stage=2 is not one of (1,)'),
    ],
)
def test_wrong_overrides_are_refused_like_flags(changes, message, file):
  with pytest.raises(ValueError) as error:
    config.load(str(file), overrides=changes)
  assert message in str(error.value)


def test_errors_name_the_flag_that_gave_the_file():
  with pytest.raises(
      ValueError, match='^--other=no.py cannot be read: there is no file'
  ):
    reading.load_model('no.py', flag='--other')


def test_an_argument_that_a_file_does_not_take_is_refused(tmp_path):
  path = tmp_path / 'x.py'
  path.write_text('def get_config(): return None')
  with pytest.raises(ValueError, match='takes no argument'):
    reading.read(f'{path}:350m')


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('', 'names no file or folder'),
        ('no/such.py', 'there is no file no/such.py'),
        ('no/such.py:7', 'there is no file no/such.py'),
    ],
)
def test_a_file_that_is_missing_is_named(path, message):
  with pytest.raises(ValueError, match=message):
    reading.read(path)


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match='is a folder without a config.json'):
    reading.read(str(tmp_path))
