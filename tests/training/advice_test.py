"""What to do about a run that failed."""

import numpy as np
import pytest

from rq_jax.training import advice

GOOD = {'w': np.float32([1, 2]), 'b': np.float32(0)}
RUINED = {'w': np.float32([1, np.inf]), 'b': np.float32(0)}


@pytest.mark.parametrize(
    ('step', 'saved', 'params', 'begins'),
    [
        (1, None, GOOD, 'none was saved before. Start anew in another'),
        (9, 8, GOOD, 'the newest, of step 8, has weights that are probably'),
        (12, 8, RUINED, 'the newest, of step 8, has weights that are probably'),
        (12, 8, GOOD, 'the newest is of step 8. Start another --workdir from'),
    ],
)
def test_only_good_weights_are_worth_starting_from(step, saved, params, begins):
  text = advice.not_finite(step, saved, params)
  assert text.startswith(f'The loss or its gradient at step {step} was not')
  assert begins in text
  good = begins.startswith('the newest is of')
  assert ('--config.init_from' in text) == good
  assert '--config.optimizer.peak_lr' in text
