"""What may change when a run is resumed, also one of an older version."""

import pytest

from rq_jax import config
from rq_jax.config import experiment as experiment_lib
from rq_jax.config import schema
from tests.config import experiments

# Fields that older versions did not store, and their behaviour.
OLDER = {'data.exif_rotation': False, 'data.class_order': 'alphabetical'}
IMAGES = {'data.source': 'image_folder', 'data.path': 'images'}


def parse(stage, changes=()):
  return config.parse(experiments.raw(stage, changes))


def test_the_fields_that_may_change_on_resume_are_these():
  sections = ('train.', 'mesh.')
  others = {'data.workers', 'data.path', 'data.max_pixels', 'data.on_error',
            'data.max_errors', 'init_from', 'tokenizer',
            'loss.perceptual_path', 'model.remat'}  # fmt: skip
  for kind in experiment_lib.KINDS.values():
    for name, known in schema.walk(kind).items():
      expected = name.startswith(sections) or name in others
      assert known.declaration.resumable == expected, name


def test_a_run_may_be_resumed_longer_and_on_another_machine():
  old = parse(1)
  for name, value in {'train.steps': 20, 'train.eval_images': 7, 'mesh.fsdp': 2,
                      'data.path': 'elsewhere'}.items():  # fmt: skip
    config.check_resumable(old, parse(1, {name: value}))
  config.check_resumable(parse(2), parse(2, {'tokenizer': 'elsewhere'}))


def test_a_run_may_not_be_resumed_as_another_one():
  changes = {'seed': 1, 'data.flip': True, 'model.dropout': 0.5}
  defaults = config.flatten(parse(1))
  for name, value in changes.items():
    with pytest.raises(ValueError, match=f'config.{name} ') as error:
      config.check_resumable(parse(1), parse(1, {name: value}))
    was = defaults[name]
    assert f'(was {was!r}, is {value!r})' in str(error.value)
  with pytest.raises(ValueError) as error:
    config.check_resumable(parse(1), parse(1, changes | {'mesh.fsdp': 2}))
  message = str(error.value)
  assert all(f'config.{name} (was' in message for name in changes)
  assert 'mesh' not in message and '--workdir' in message
  with pytest.raises(ValueError, match=r'config.stage \(was 1, is 2\)'):
    config.check_resumable(parse(1), parse(2))


def test_a_run_of_an_older_version_reads_as_it_behaved():
  raw = config.to_dict(parse(1, IMAGES))
  for name in OLDER:
    del raw['data'][name.removeprefix('data.')]
  assert config.parse_stored(raw) == parse(1, IMAGES | OLDER)
  assert config.parse(raw) == parse(1, IMAGES)
  # What is stored counts.
  stored = parse(1, IMAGES | {'data.class_order': 'natural'})
  assert config.parse_stored(config.to_dict(stored)) == stored


def test_defaults_give_way_to_the_behaviour_of_an_older_run():
  older, now = parse(1, IMAGES | OLDER), parse(1, IMAGES | {'train.steps': 7})
  found, kept = config.with_stored(older, now)
  assert kept == OLDER
  assert found == parse(1, IMAGES | OLDER | {'train.steps': 7})
  assert config.with_stored(now, now) == (now, {})


def test_sources_that_do_not_read_such_fields_keep_the_defaults():
  older = {**IMAGES, **OLDER, 'data.source': 'webdataset'}
  now = {**IMAGES, 'data.source': 'webdataset'}
  _, kept = config.with_stored(parse(1, older), parse(1, now))
  assert kept == {'data.exif_rotation': False}
  digits = {'data.source': 'digits'}
  made = parse(1, digits)
  assert config.with_stored(parse(1, OLDER | digits), made) == (made, {})
