"""A call must ask for exactly what its model takes; all else is told why."""

import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import rqtransformer
from rq_jax.sampling import conditions

_PRIORS = {
    'class': rqtransformer.RQTransformer(num_classes=10, null_class=True),
    'text': rqtransformer.RQTransformer(text_vocab_size=50, text_length=3),
    'nothing': rqtransformer.RQTransformer(),
}
_TAKES = {
    'class': 'This model takes labels and nothing else, such as labels=[0, 1];',
    'text': (
        'This model takes tokens and nothing else, such as'
        ' tokens=int32[B, 3];'
    ),
    'nothing': (
        'This model takes num_images and nothing else, such as num_images=4;'
    ),
}
_GIVEN = {
    'labels': [1, 2],
    'tokens': [[1, 2, 3]],
    'prompts': ['a cat'],
    'num_images': 2,
}


def _resolve(kind, **given):
  return conditions.resolve(_PRIORS[kind], **given)


def _error(kind, **given):
  with pytest.raises(ValueError) as error:
    _resolve(kind, **given)
  return str(error.value)


@pytest.mark.parametrize(
    'labels', [[3, 0, 9], (3, 0, 9), np.int64([3, 0, 9]), jnp.array([3, 0, 9])]
)
def test_labels_become_a_column(labels):
  condition = _resolve('class', labels=labels)
  np.testing.assert_array_equal(condition, [[3], [0], [9]])
  assert condition.dtype == np.int32


def test_tokens_become_rows():
  condition = _resolve('text', tokens=[[0, 7, 49], [1, 2, 3]])
  np.testing.assert_array_equal(condition, [[0, 7, 49], [1, 2, 3]])
  assert condition.dtype == np.int32


@pytest.mark.parametrize('number', [1, 4, np.int64(4)])
def test_images_of_no_condition_are_zeros(number):
  condition = _resolve('nothing', num_images=number)
  np.testing.assert_array_equal(condition, np.zeros((number, 1)))
  assert condition.dtype == np.int32


@pytest.mark.parametrize(
    ('kind', 'wrong'),
    [
        (kind, wrong)
        for kind, right in (
            ('class', 'labels'),
            ('text', 'tokens'),
            ('nothing', 'num_images'),
        )
        for wrong in _GIVEN
        if wrong != right and (kind, wrong) != ('text', 'prompts')
    ],
)
def test_another_condition_is_refused(kind, wrong):
  message = _error(kind, **{wrong: _GIVEN[wrong]})
  assert message == f'{_TAKES[kind]} got {wrong}.'


@pytest.mark.parametrize('kind', _PRIORS)
def test_no_condition_is_refused(kind):
  assert _error(kind) == f'{_TAKES[kind]} got nothing.'


@pytest.mark.parametrize(
    ('kind', 'names'),
    [
        ('class', ('labels', 'num_images')),
        ('class', ('labels', 'tokens')),
        ('text', ('tokens', 'prompts')),
        ('text', ('labels', 'tokens')),
        ('nothing', ('labels', 'num_images')),
    ],
)
def test_two_conditions_at_once_are_refused(kind, names):
  message = _error(kind, **{name: _GIVEN[name] for name in names})
  assert message == f'{_TAKES[kind]} got {" and ".join(names)}.'


def test_prompts_need_a_text_tokenizer():
  assert _error('text', prompts=['a cat']) == (
      f'{_TAKES["text"]} got prompts, but it has no text tokenizer.'
  )


@pytest.mark.parametrize('number', [0, -2, 2.0, '3'])
def test_a_wrong_number_of_images_is_refused(number):
  assert _error('nothing', num_images=number) == (
      f'num_images={number} must be a whole number of at least 1.'
  )


@pytest.mark.parametrize(
    ('kind', 'given', 'bad', 'largest'),
    [
        ('class', dict(labels=[0, 10]), 'labels=10', 9),
        ('class', dict(labels=[3, -1]), 'labels=-1', 9),
        ('text', dict(tokens=[[0, 1, 50]]), 'tokens=50', 49),
        ('text', dict(tokens=[[-1, 1, 99]]), 'tokens=-1', 49),
    ],
)
def test_what_a_model_does_not_know_is_refused(kind, given, bad, largest):
  # The null class has the index 10, but is not for callers.
  assert _error(kind, **given) == (
      f'{bad} is out of range. This model knows 0 to {largest}.'
  )


@pytest.mark.parametrize(
    ('labels', 'got'),
    [
        ([0.0, 1.0], 'float64 of shape (2,)'),
        (np.float32([1]), 'float32 of shape (1,)'),
        ([True, False], 'bool of shape (2,)'),
        ('3', '<U1 of shape ()'),
        (3, 'int64 of shape ()'),
        ([[1], [2]], 'int64 of shape (2, 1)'),
        ([], 'float64 of shape (0,)'),
        (np.zeros(0, np.int64), 'int64 of shape (0,)'),
    ],
)
def test_labels_that_are_no_list_of_whole_numbers_are_refused(labels, got):
  assert _error('class', labels=labels) == (
      'labels must be whole numbers of shape [B], such as labels=[0, 1]; got'
      f' {got}.'
  )


@pytest.mark.parametrize(
    ('tokens', 'got'),
    [
        ([1, 2, 3], 'int64 of shape (3,)'),
        ([[1, 2]], 'int64 of shape (1, 2)'),
        ([[[1, 2, 3]]], 'int64 of shape (1, 1, 3)'),
        ([[1.0, 2.0, 3.0]], 'float64 of shape (1, 3)'),
        (5, 'int64 of shape ()'),
    ],
)
def test_tokens_of_another_length_are_refused(tokens, got):
  assert _error('text', tokens=tokens) == (
      'tokens must be whole numbers of shape [B, 3], such as'
      f' tokens=int32[B, 3]; got {got}.'
  )
