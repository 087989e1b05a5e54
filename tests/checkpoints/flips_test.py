"""A sample of tests/drills/checkpoints_test.py, and two processes."""

import shutil

import jax
import numpy as np
import pytest

from rq_jax.checkpoints import runs
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.tokenizer import Tokenizer
from tests import processes
from tests import states
from tests import tokenizers
from tests.drills import checkpoint_damage as damage

FLIPS = 20


def save(folder):
  """Saves steps 3, 4 and 5 of different states."""
  folder.mkdir()
  stored.write_config(folder, states.config())
  with runs.Checkpoints(folder, keep=3) as checkpoints:
    for step in (3, 4, 5):
      checkpoints.save(step, states.state(seed=step), {'step': step})
  return folder


def newest(folder):
  """What training resumes from, bit by bit."""
  shapes = states.shapes(states.state())
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  with runs.Checkpoints(folder, keep=2) as checkpoints:
    state, meta = checkpoints.restore_newest(
        shapes, jax.tree.map(lambda _: here, shapes)
    )
  return damage.contents(state), meta


def tokenizer(folder):
  """A tokenizer and the pictures that it decodes."""
  restored = Tokenizer.restore(folder, verbose=False)
  pictures = damage.bits(restored.decode(tokenizers.codes()))
  return restored.model, damage.contents(restored.variables), pictures


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('kind', ['run', 'copy'])
def test_no_flipped_bit_is_silent(kind, tmp_path):
  if kind == 'run':
    sound, restore = save(tmp_path / 'run'), newest
  else:
    sound, restore = tokenizers.folder(), tokenizer
  drill = damage.Drill(sound, tmp_path, restore)
  rng = np.random.default_rng(0)
  for _ in range(FLIPS):
    drill(
        lambda copy: damage.flip(rng, damage.files_of(copy, without=['3', '4']))
    )
  assert not drill.wrong
  assert sum(drill.counts.values()) == FLIPS
  assert drill.counts['back' if kind == 'run' else 'refused'] > FLIPS / 4


PROGRAM = """
import sys
import jax
from rq_jax.checkpoints import reading, runs
from rq_jax.distributed import processes
processes.initialize(
    coordinator=sys.argv[2], processes=2, process=int(sys.argv[3])
)
from tests import states
from rq_jax.distributed import partitioning

read = reading.read

def failing(path, step, *args, **kwargs):
  if step == 4 and jax.process_index() == 1:
    raise ValueError('DATA_LOSS')
  return read(path, step, *args, **kwargs)

reading.read = failing
mesh = partitioning.make_mesh({'fsdp': -1})
shapes = states.shapes(jax.eval_shape(states.state))
shardings = states.shardings(shapes, mesh)
with runs.Checkpoints(sys.argv[1], keep=2) as checkpoints:
  _, meta = checkpoints.restore_newest(shapes, shardings)
  print('resumes from', meta['step'], checkpoints.steps())
"""


@pytest.mark.process
def test_two_processes_fall_back_to_the_same_step(tmp_path):
  """Step 5 has the arrays of step 3, and one process cannot read step 4."""
  run = save(tmp_path / 'run')
  newer = run / 'checkpoints' / '5' / 'state'
  shutil.rmtree(newer)
  shutil.copytree(run / 'checkpoints' / '3' / 'state', newer)
  address = f'localhost:{processes.free_port()}'
  ended = processes.end(
      [processes.start(PROGRAM, run, address, i, devices=2) for i in range(2)]
  )
  for code, said, errors in ended:
    assert code == 0, errors
    assert 'resumes from 3 [3]' in said
  said = ended[0][1]
  assert 'Skipping checkpoint 5' in said and 'has changed since' in said
  assert 'Skipping checkpoint 4' in said and 'process 1 of 2 cannot' in said
  assert (run / 'damaged_checkpoints' / '4').exists()
  assert steps.finished(run) == [3]
