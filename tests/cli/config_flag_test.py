"""--config and --config.FIELD: values as typed, and the experiment they set."""

import pytest

from rq_jax import __main__ as main_lib
from rq_jax import config
from rq_jax.cli import config_flag

DIGITS = 'configs/digits/rqvae.py'


def read(*words, path=DIGITS):
  rest, changes = config_flag.split(['train', *words])
  assert rest == ['train']
  return config.parse(config_flag.read(path, changes))


def test_fields_are_set_in_all_the_ways_of_typing_them():
  made = read(
      '--config.data.flip',
      '-config.optimizer.peak_lr=1e-4',
      '--config.model.codebook_size',
      '64',
      '--config.train.steps=None',
      '--config.train.epochs=2',
      '--noconfig.model.shared_codebook',
      '--config.init_from=a=b',
  )
  assert made.data.flip is True and made.optimizer.peak_lr == 1e-4
  assert made.model.codebook_size == 64
  assert (made.train.steps, made.train.epochs) == (None, 2.0)
  assert made.model.shared_codebook is False and made.init_from == 'a=b'
  assert made.train.log_steps == 10  # As in the file.


def test_other_flags_are_left_alone():
  words = ['train', '--config=x', '--workdir=y', '--dry_run']
  assert config_flag.split(words) == (words, ())


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('--config.model.chanels=3', 'Did you mean --config.model.channels?'),
        ('--config.modle.channels=3', 'Did you mean --config.model?'),
        ('--config.sed=3', 'Did you mean --config.seed?'),
        (
            '--config.data=3',
            '--config.data is a section, not a field. Set one of --config.d',
        ),
        ('--config.data.path.x=3', 'Unknown field config.data.path.x'),
        ('--config.train.steps=x', '--config.train.steps=x is not an integer'),
    ],
)
def test_what_names_no_field_is_refused(word, message):
  with pytest.raises(ValueError) as error:
    read(word)
  assert message in str(error.value)


def test_references_within_a_file_follow_a_change(tmp_path):
  path = tmp_path / 'x.py'
  path.write_text(
      'from ml_collections import config_dict\n'
      'def get_config():\n'
      '  config = config_dict.ConfigDict({"stage": 1, "data": {}})\n'
      '  config.data.image_size = 256\n'
      '  config.model = config_dict.ConfigDict()\n'
      '  config.model.image_size = config.data.get_ref("image_size")\n'
      '  return config\n'
  )
  made = read('--config.data.image_size=512', path=str(path))
  assert made.data.image_size == made.model.image_size == 512
  # Fields that the file does not mention can be set, too.
  made = read('--config.train.steps=9', path=str(path))
  assert made.train.steps == 9 and made.model.image_size == 256


def test_a_file_of_plain_values_takes_flags_of_other_types(tmp_path):
  path = tmp_path / 'x.py'
  path.write_text(
      'from ml_collections import config_dict\n'
      'def get_config():\n'
      '  return config_dict.ConfigDict(\n'
      '      {"stage": 1, "optimizer": {"peak_lr": 1}, "seed": 3}).lock()\n'
  )
  words = ['--config.optimizer.peak_lr=1e-3', '--config.data.path=images']
  made = read(*words, path=str(path))
  assert made.optimizer.peak_lr == 1e-3 and made.seed == 3
  assert made.data.path == 'images'


def test_a_value_in_the_place_of_a_section_is_refused(tmp_path):
  path = tmp_path / 'x.py'
  path.write_text(
      'from ml_collections import config_dict\n'
      'def get_config():\n'
      '  return config_dict.ConfigDict({"stage": 1, "data": 3})\n'
  )
  with pytest.raises(ValueError, match='config.data=3 must be a section'):
    read('--config.data.path=images', path=str(path))


def test_a_negated_field_takes_no_value():
  words = ['train', '--noconfig.data.flip=true']
  assert config_flag.split(words) == (words, ())


def test_help_lists_the_fields_of_the_experiment(capsys):
  words = ['train', f'--config={DIGITS}', '--config.seed=7', '--help']
  assert main_lib.main(words) == 0
  text = capsys.readouterr().out
  assert f'Fields of {DIGITS}:' in text
  assert '--config.seed=7' in text and '--config.model.channels=8' in text
  assert main_lib.main(['train', '--help']) == 0
  assert 'Give --config=FILE, too' in capsys.readouterr().out


@pytest.mark.parametrize('command', ['train', 'encode'])
def test_help_names_a_file_that_is_missing(command, capsys):
  assert main_lib.main([command, '--config=no.py', '--help']) == 1
  assert 'there is no file no.py' in capsys.readouterr().err
