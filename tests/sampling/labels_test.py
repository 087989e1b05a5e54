"""Names of classes become labels; a misspelt name gets a suggestion."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.sampling import labels
from tests.sampling import models

NAMES = ('china', 'flower', 'tench, Tinca tinca', '0')


@pytest.mark.parametrize(
    ('given', 'numbers'),
    [
        (['flower', 'china'], [1, 0]),
        (('flower', 3, 'china'), [1, 3, 0]),
        (np.array(['flower', 'flower']), [1, 1]),
        (['tench, Tinca tinca'], [2]),
        (['0', 0], [3, 0]),
        ([2, 7], [2, 7]),
    ],
)
def test_names_become_numbers_and_numbers_stay(given, numbers):
  assert labels.numbers(given, NAMES) == numbers


@pytest.mark.parametrize('given', [jnp.array([1, 2]), np.array([1]), 'china'])
def test_what_is_no_list_of_names_is_left_to_other_checks(given):
  assert labels.numbers(given, NAMES) is given


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('Chna', "Did you mean 'china', which has the number 0? Give names"),
        ('FLOWER', "Did you mean 'flower', which has the number 1?"),
        ('Tinca', "'tench, Tinca tinca', which has the number 2? On the comm"),
        ('xyzzy', 'The classes are china, flower, tench, Tinca tinca, 0. Give'),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(name, words):
  with pytest.raises(ValueError) as error:
    labels.numbers([0, name], NAMES)
  assert str(error.value).startswith(f'labels={name!r} is not the name of a cl')
  assert words in str(error.value)


def test_capitals_do_not_hide_the_nearest_name():
  with pytest.raises(ValueError, match="Did you mean 'Siamese cat', which has"):
    labels.numbers(['SIAMESE'], ['flower', 'Siamese cat'])


def test_a_model_without_names_asks_for_numbers():
  with pytest.raises(ValueError, match='no classes.json .* Give numbers.'):
    labels.numbers(['china'], None)


def test_a_sampler_draws_the_same_by_name_and_by_number():
  plain = models.sampler()
  names = tuple(f'class {i}' for i in range(10))
  named = dataclasses.replace(plain, class_names=names)
  key = jax.random.key(3)
  by_number = plain.codes(key, labels=[7, 2])
  by_name = named.codes(key, labels=['class 7', 'class 2'])
  np.testing.assert_array_equal(by_name, by_number)
  np.testing.assert_array_equal(
      named.logits(by_name, labels=['class 7', 2]),
      plain.logits(by_name, labels=[7, 2]),
  )
  with pytest.raises(ValueError, match="Did you mean 'class 7'"):
    named.check(labels=['clas 7'])
