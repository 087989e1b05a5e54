"""Results as texts."""

import pytest

from rq_jax.jobs.evaluate import text


@pytest.mark.parametrize(
    ('metric', 'shown'),
    [('is', '12.346'), ('fid', '12.3457'), ('kid', '12.34568')],
)
def test_values_have_the_digits_that_people_state(metric, shown):
  result = {'metric': metric, 'interval': (12.3456789, 12.3456789)}
  assert text.number(result, 12.3456789) == shown
  assert text.interval(result) == f'{shown} to {shown}'
