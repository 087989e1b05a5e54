"""Which classes of a classifier belong to those of a generator."""

import json

import pytest

from rq_jax.evaluation import classifier_classes

NAMES = ('cat', 'coffee', '7')


def read(folder, value, *, names=NAMES, number=3):
  path = folder / 'classes.json'
  path.write_text(value if isinstance(value, str) else json.dumps(value))
  return classifier_classes.read(path, names, number, known=1000)


def test_classes_are_found_by_name_or_number(tmp_path):
  given = {'coffee': [967], '0': [281, 285], '7': [4]}
  assert read(tmp_path, given) == ((281, 285), (967,), (4,))


def test_without_names_classes_are_found_by_number(tmp_path):
  given = {'1': [0], '0': [999]}
  assert read(tmp_path, given, names=None, number=2) == ((999,), (0,))


def test_a_name_that_is_a_number_comes_before_the_number(tmp_path):
  given = {'1': [5], '0': [6]}
  assert read(tmp_path, given, names=('1', '0'), number=2) == ((5,), (6,))


def test_classes_with_equal_names_are_found_by_number(tmp_path):
  given = {'0': [1], '1': [2]}
  assert read(tmp_path, given, names=('crane',) * 2, number=2) == ((1,), (2,))
  with pytest.raises(ValueError, match='"crane", which is no class'):
    read(tmp_path, {'crane': [1]}, names=('crane',) * 2, number=2)


CAT, COFFEE, SEVEN = {'cat': [1]}, {'coffee': [2]}, {'7': [3]}


@pytest.mark.parametrize(
    'value, message',
    [
        ('{', 'is not JSON'),
        ('[["cat", [1]]]', 'must hold an object'),
        ('{"cat": [1], "cat": [2]}', 'two entries for class 0.* as "cat"'),
        (CAT | {'0': [2]} | COFFEE | SEVEN, 'two entries for class 0.* as "0"'),
        (CAT, 'lacks 2 of the 3 classes of the generator: coffee, 7. Add'),
        (CAT | {'dog': [2]}, '"dog", which is no class.*names or numbers'),
        (CAT | {'3': [2]}, '"3", which is no class.* 0 to 2'),
        (CAT | {'²': [2]}, 'which is no class'),
        ({'cat': 281}, 'numbers from 0 to 999 for "cat"'),
        ({'cat': []}, 'for "cat"'),
        ({'cat': [1, 1]}, 'different numbers'),
        ({'cat': [1000]}, 'from 0 to 999'),
        ({'cat': [-1]}, 'from 0 to 999'),
        ({'cat': [True]}, 'from 0 to 999'),
        ({'cat': [1.0]}, 'from 0 to 999'),
        ({'cat': {'a': 1}}, 'from 0 to 999'),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, value, message):
  with pytest.raises(ValueError, match=message) as error:
    read(tmp_path, value)
  assert '--classifier_classes' in str(error.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(ValueError, match='No such file.* Check the path'):
    classifier_classes.read(tmp_path / 'none.json', None, 1, known=2)
  with pytest.raises(ValueError, match='names no file'):
    classifier_classes.read(' ', None, 1, known=2)
