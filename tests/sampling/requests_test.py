"""What a call asks for becomes arrays, or is refused."""

import numpy as np
import pytest

from rq_jax.models import rqtransformer
from rq_jax.sampling import requests
from rq_jax.sampling.options import Sampling

_PRIOR = rqtransformer.RQTransformer(
    code_shape=(1, 3, 2), codebook_size=12, num_classes=10, null_class=True
)


def _ask(usual=None, **asked):
  usual = usual or Sampling()
  return requests.ask(_PRIOR, {'labels': [7, 3], **asked}, sampling=usual)


def test_a_request_holds_the_condition_and_the_draws_of_the_key():
  request = _ask(first_index=2**32 - 2)
  np.testing.assert_array_equal(request.condition, [[7], [3]])
  np.testing.assert_array_equal(request.indices, [2**32 - 2, 2**32 - 1])
  assert request.indices.dtype == np.uint32
  np.testing.assert_array_equal(_ask().indices, [0, 1])


def test_no_code_is_kept_unless_that_is_replaced():
  request = _ask()
  assert request.keep.shape == request.given.shape == (2, 3, 2)
  assert not request.keep.any()
  assert request.given.dtype == np.int32


def test_a_call_may_draw_otherwise_than_the_sampler():
  usual = Sampling(temperature=0.5)
  np.testing.assert_array_equal(_ask(usual).temperature, [0.5, 0.5])
  other = _ask(usual, sampling=Sampling(temperature=2))
  np.testing.assert_array_equal(other.temperature, [2, 2])
  assert other.temperature.dtype == np.float32
  same = _ask(usual, sampling=None)
  np.testing.assert_array_equal(same.temperature, [0.5, 0.5])


def test_options_become_one_value_for_each_depth():
  request = _ask(
      Sampling(
          temperature=(0.5, 2),
          top_k=(None, 99),
          top_p=(1, 0.9),
          guidance=(3, 0),
      )
  )
  np.testing.assert_array_equal(request.temperature, np.float32([0.5, 2]))
  # As many codes as there are, and then all are kept.
  np.testing.assert_array_equal(request.top_k, [12, 12])
  np.testing.assert_array_equal(request.top_p, np.float32([1, 0.9]))
  np.testing.assert_array_equal(request.guidance, [[3, 0]] * 3)
  assert request.filters_k == (False, False)
  assert request.filters_p == (False, True) and request.guided
  few = _ask(Sampling(top_k=(11, None)))
  np.testing.assert_array_equal(few.top_k, [11, 12])
  assert few.filters_k == (True, False) and not few.guided


@pytest.mark.parametrize('name', ['temperature', 'top_k', 'top_p', 'guidance'])
def test_every_option_of_another_depth_is_refused(name):
  with pytest.raises(ValueError, match=rf'{name}=\(1, 1, 1\) has 3 numbers'):
    _ask(Sampling(**{name: (1, 1, 1)}))


@pytest.mark.parametrize('first', [2**32 - 1, 2**70])
def test_a_draw_that_a_key_does_not_have_is_refused(first):
  with pytest.raises(ValueError) as error:
    _ask(first_index=first)
  assert str(error.value) == (
      f'This call needs image {first + 1} of the key, but a key has 4294967296'
      ' images. Use a smaller first_index and another key.'
  )


def test_only_what_belongs_to_an_image_is_mapped():
  request = _ask(Sampling(temperature=(0.5, 2)), first_index=4)
  last = request.map_images(lambda x: x[[1, 1, 1]])
  np.testing.assert_array_equal(last.condition, [[3]] * 3)
  np.testing.assert_array_equal(last.indices, [5] * 3)
  assert last.given.shape == last.keep.shape == (3, 3, 2)
  np.testing.assert_array_equal(last.temperature, [0.5, 2])
  np.testing.assert_array_equal(last.guidance, request.guidance)


def test_images_may_have_any_indices():
  request = _ask(indices=[2**32 - 1, 5])
  np.testing.assert_array_equal(request.indices, [2**32 - 1, 5])
  assert request.indices.dtype == np.uint32
  np.testing.assert_array_equal(_ask(indices=None).indices, [0, 1])


@pytest.mark.parametrize(
    ('asked', 'words'),
    [
        (dict(indices=[1]), '2 in all; got int64 of shape [1].'),
        (dict(indices=[[1], [2]]), '2 in all; got int64 of shape [2, 1].'),
        (dict(indices=[1.0, 2.0]), '2 in all; got float64 of shape [2].'),
        (dict(indices=[True, False]), '2 in all; got bool of shape [2].'),
        (dict(indices=[-1, 2]), 'indices=-1 must be at least 0.'),
        (dict(indices=[2**32, 2]), 'needs image 4294967296 of the key'),
        (
            dict(indices=[1, 2], first_index=3),
            'first_index=3 and indices exclude each other.',
        ),
    ],
)
def test_indices_that_are_none_are_refused(asked, words):
  with pytest.raises(ValueError) as error:
    _ask(**asked)
  assert words in str(error.value)
