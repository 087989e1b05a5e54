"""No damaged file of a job or a cache changes what a user gets unnoticed.

`python -m pytest -m drill tests/drills` damages each kind of folder a hundred
times or more; the normal suite, a few times.
"""

import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.data.feature_cache import layout
from rq_jax.data.prepared import shards
from tests import tiny
from tests.drills import damage
from tests.drills import job_folders
from tests.jobs import encoding
from tests.jobs.evaluate import fakes
from tests.jobs.prepare import folders

WAYS = ('flip', 'truncate', 'remove', 'swap')


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch):
  """Several shards of few examples, and networks that take no time."""
  monkeypatch.setattr(shards, 'SHARD_BYTES', folders.SHARD_BYTES)
  row = 2 * np.prod(tiny.untrained_tokenizer().model.features_shape)
  monkeypatch.setattr(layout, 'SHARD_BYTES', encoding.SHARD_ROWS * row)
  monkeypatch.setattr(tokenizer_lib, 'features_known', encoding.features)
  with fakes.networks_replaced(monkeypatch):
    yield


def damaged_in_vain(name, tmp_path, *, count, seed):
  """Damages a folder, and checks every outcome; returns the errors."""
  kind, sound = job_folders.KINDS[name], tmp_path / 'sound'
  kind.write(sound)
  expected = kind.read(tmp_path / 'sound')
  if kind.again:  # Reading has completed the job.
    sound = tmp_path / 'again'
    kind.write(sound)
  errors = []
  for way in WAYS:
    for number in range(count if way == 'flip' else len(kind.files(sound))):
      found = damage.outcome(
          sound,
          tmp_path / 'damaged',
          damage=getattr(damage, way),
          number=number,
          seed=seed + number,
          kind=kind,
          expected=expected,
      )
      if found is None:
        continue
      file, result = found
      where = f'{name}: {way} {file}, seed {seed + number}'
      assert result != 'different', where
      if isinstance(result, Exception):
        # One sentence that names a file or the folder.
        assert isinstance(result, (ValueError, OSError)), (where, result)
        assert str(tmp_path / 'damaged') in str(result), (where, result)
        errors.append(where)
  return errors


@pytest.mark.parametrize(
    'name',
    [
        'cache',
        'dataset',
        'index of tar files',
        'samples as png for evaluation',
    ],
)
def test_damage_is_noticed_or_repaired(name, tmp_path):
  errors = damaged_in_vain(name, tmp_path, count=20, seed=0)
  assert bool(errors) == (name != 'index of tar files')


@pytest.mark.drill
@pytest.mark.parametrize('name', job_folders.KINDS)
def test_damage_is_noticed_or_repaired_everywhere(name, tmp_path):
  damaged_in_vain(name, tmp_path, count=120, seed=1000)
