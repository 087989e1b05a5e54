"""A process whose partner stops ends with one sentence."""

import time

from PIL import Image
import pytest

from rq_jax.checkpoints import steps
from tests import processes
from tests import tiny_flags

pytestmark = [pytest.mark.process, pytest.mark.slow]

PROGRAM = """
from rq_jax import __main__
__main__.program()
"""


def test_a_broken_image_in_one_process_ends_the_other(tmp_path):
  for name in ('whole', 'broken'):
    (tmp_path / name).mkdir()
    for i in range(40):
      Image.new('RGB', (16, 16)).save(tmp_path / name / f'{i:02d}.png')
  # Both processes have taken steps when this one reads it.
  (tmp_path / 'broken' / '21.png').write_bytes(b'?')
  port = processes.free_port()
  started = [
      processes.start(
          PROGRAM,
          *('train', *tiny_flags.FLAGS, f'--workdir={tmp_path / "run"}'),
          *('--config.data.source=image_folder', '--config.train.steps=60'),
          f'--config.data.path={tmp_path / name}',
          f'--coordinator=localhost:{port}',
          *('--processes=2', f'--process={index}'),
          devices=2,
      )
      for index, name in enumerate(('whole', 'broken'))
  ]
  (code, _, error), (other_code, _, other) = processes.end(started)
  assert (code, other_code) == (1, 1)
  assert 'is not a JPEG, PNG or WebP file' in other
  assert errors(error) == [
      'Error: Process 1 has stopped with an error. Its message gives the'
      ' reason.'
  ]


def test_a_process_that_is_killed_ends_the_other_which_can_be_resumed(tmp_path):
  port = processes.free_port()
  started = [
      processes.start(
          PROGRAM,
          *('train', *tiny_flags.FLAGS, f'--workdir={tmp_path}'),
          *('--config.train.steps=1000', '--config.train.checkpoint_steps=2'),
          f'--coordinator=localhost:{port}',
          *('--processes=2', f'--process={index}'),
      )
      for index in range(2)
  ]
  while not steps.finished(tmp_path) and started[0].poll() is None:
    time.sleep(0.1)
  # The first process: JAX would end the other with a trace of C++.
  started[0].kill()
  start = time.monotonic()
  (_, _, _), (code, _, error) = processes.end(started)
  assert time.monotonic() - start < 35
  assert code == 75
  # JAX may write about the end of the first process, too.
  assert [x for x in errors(error) if x.startswith('Error')] == [
      'Error: The first process has been killed or has crashed. Run the same'
      ' command again, in all processes, to resume.'
  ]
  assert steps.find(tmp_path, None) >= 2


def errors(text):
  """The lines of a standard error that are not about progress."""
  lines = [line.rpartition('\r')[2] for line in text.splitlines()]
  return [line for line in lines if line.strip() and 'step' not in line]
