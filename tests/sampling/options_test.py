"""Options are checked when made, and hold for one depth or for each."""

import numpy as np
import pytest

from rq_jax.sampling.options import Sampling


def test_by_default_nothing_is_filtered():
  assert Sampling() == Sampling(temperature=1.0, top_k=None, top_p=1.0)


def test_one_value_holds_at_all_depths():
  sampling = Sampling(temperature=0.5, top_k=7, top_p=0.9)
  assert sampling.by_depth('temperature', 3) == (0.5, 0.5, 0.5)
  assert sampling.by_depth('top_k', 2) == (7, 7)
  assert sampling.by_depth('top_p', 1) == (0.9,)
  assert Sampling().by_depth('top_k', 2) == (None, None)


def test_each_depth_may_have_its_own_value():
  sampling = Sampling(temperature=(1, 2), top_k=[3, 4], top_p=(0.5, 1.0))
  assert sampling.by_depth('temperature', 2) == (1, 2)
  assert sampling.by_depth('top_k', 2) == (3, 4)
  assert sampling.by_depth('top_p', 2) == (0.5, 1.0)


@pytest.mark.parametrize('name', ['temperature', 'top_k', 'top_p'])
@pytest.mark.parametrize('depth', [1, 3])
def test_values_for_another_depth_are_refused(name, depth):
  sampling = Sampling(**{name: [1, 1]})
  with pytest.raises(ValueError) as error:
    sampling.by_depth(name, depth)
  assert str(error.value) == (
      f'{name}=(1, 1) has 2 numbers, but this model has {depth} depths. Set one'
      f' number, or {depth} numbers.'
  )


def test_options_are_hashable_and_equal_by_value():
  lists = Sampling(temperature=[1.0, 0.5], top_k=[5, 6], top_p=[0.9, 1.0])
  tuples = Sampling(temperature=(1.0, 0.5), top_k=(5, 6), top_p=(0.9, 1.0))
  assert lists == tuples and hash(lists) == hash(tuples)
  assert lists != Sampling(temperature=(1.0, 0.5))


@pytest.mark.parametrize('value', [0, -1.0, 1e-7, float('nan'), float('inf')])
@pytest.mark.parametrize('several', [False, True])
def test_a_temperature_must_be_positive_and_finite(value, several):
  with pytest.raises(ValueError) as error:
    Sampling(temperature=[1.0, value] if several else value)
  assert str(error.value) == (
      f'temperature={value} must be at least 1e-06. For greedy sampling, set'
      ' top_k=1.'
  )


@pytest.mark.parametrize('value', [0, -3, 2.0, np.float64(2)])
@pytest.mark.parametrize('several', [False, True])
def test_top_k_must_be_a_positive_whole_number(value, several):
  with pytest.raises(ValueError) as error:
    Sampling(top_k=(1, value) if several else value)
  assert str(error.value) == (
      f'top_k={value} must be a whole number of at least 1. None allows all'
      ' codes.'
  )


@pytest.mark.parametrize('value', [0, 0.0, -0.1, 1.01, float('nan')])
@pytest.mark.parametrize('several', [False, True])
def test_top_p_must_lie_between_0_and_1(value, several):
  with pytest.raises(ValueError) as error:
    Sampling(top_p=[0.5, value] if several else value)
  assert str(error.value) == (
      f'top_p={value} must be in (0, 1]. 1 allows all codes.'
  )


def test_the_smallest_and_largest_values_are_taken():
  Sampling(temperature=1e-3, top_k=1, top_p=1e-6)
  Sampling(temperature=1e3, top_k=np.int64(10**6), top_p=1)


@pytest.mark.parametrize('value', [-1, -0.1, float('nan'), float('inf')])
@pytest.mark.parametrize('several', [False, True])
def test_guidance_must_not_be_negative(value, several):
  with pytest.raises(ValueError) as error:
    Sampling(guidance=[2.0, value] if several else value)
  assert str(error.value) == (
      f'guidance={value} must be at least 0. 1 means no guidance.'
  )


def test_a_schedule_must_be_known():
  with pytest.raises(ValueError) as error:
    Sampling(guidance_schedule='cosin')
  assert str(error.value) == (
      "guidance_schedule='cosin' must be one of constant, linear, cosine."
  )


def test_only_scales_other_than_one_guide():
  assert not Sampling().guided and not Sampling(guidance=(1, 1.0)).guided
  assert Sampling(guidance=0).guided and Sampling(guidance=(1, 1.1)).guided


@pytest.mark.parametrize(
    ('schedule', 'grown'),
    [
        ('constant', [1, 1, 1, 1, 1]),
        ('linear', [0, 0.25, 0.5, 0.75, 1]),
        ('cosine', [0, 0.5 - 8**-0.5, 0.5, 0.5 + 8**-0.5, 1]),
    ],
)
def test_guidance_grows_by_its_schedule(schedule, grown):
  sampling = Sampling(guidance=(3.0, 0.5), guidance_schedule=schedule)
  expected = 1 + np.array(grown)[:, None] * [[2.0, -0.5]]
  scales = sampling.scales(positions=5, depth=2)
  np.testing.assert_allclose(scales, expected, atol=1e-6)
  assert scales.dtype == np.float32
  # A map of one position has its full share.
  np.testing.assert_array_equal(sampling.scales(1, 2), [[3.0, 0.5]])
