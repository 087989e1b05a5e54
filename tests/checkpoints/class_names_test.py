"""The names of the classes are kept in a file, and compared with the data."""

import json
import os

import pytest

from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import inference_copy
from tests import states

NAMES = ('ant', 'bee, wild', 'tüv', os.fsdecode(b'\xff'))


def test_names_come_back_as_they_were_written(tmp_path):
  assert class_names.read(tmp_path) is None
  class_names.write(tmp_path, NAMES)
  assert class_names.read(tmp_path) == NAMES
  class_names.write(tmp_path, None)
  assert class_names.read(tmp_path) == NAMES
  assert json.loads((tmp_path / 'classes.json').read_text()) == list(NAMES)


def test_an_inference_copy_has_the_names(tmp_path):
  variables = {'params': {}}
  inference_copy.export(tmp_path / 'a', states.config(), variables)
  assert not (tmp_path / 'a' / 'classes.json').exists()
  inference_copy.export(
      tmp_path / 'b', states.config(), variables, classes=NAMES
  )
  assert class_names.read(tmp_path / 'b') == NAMES


@pytest.mark.parametrize(
    ('now', 'words'),
    [
        (['ant', 'bee', 'dog'], "label 1 was 'bee, wild' in .*, and is 'bee'"),
        (['aardvark', *NAMES], "label 0 was 'ant' in .*, and is 'aardvark'"),
        (NAMES[:3], 'label 3 was .* in .*, and is no class'),
        ([*NAMES, 'zoo'], "label 4 was no class in .*, and is 'zoo'"),
    ],
)
def test_the_first_difference_is_named(tmp_path, now, words):
  class_names.write(tmp_path, NAMES)
  with pytest.raises(ValueError, match=words):
    class_names.check(tmp_path, now)


def test_unknown_names_are_accepted(tmp_path):
  class_names.check(tmp_path, NAMES)
  class_names.write(tmp_path, NAMES)
  class_names.check(tmp_path, None)
  class_names.check(tmp_path, list(NAMES))


@pytest.mark.parametrize('text', ['{"0": "ant"}', '[1, 2]', '["a"'])
def test_a_damaged_file_is_named(tmp_path, text):
  (tmp_path / 'classes.json').write_text(text)
  with pytest.raises(ValueError, match='classes.json is damaged'):
    class_names.read(tmp_path)
