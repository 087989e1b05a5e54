"""A process whose partner stops ends with one sentence."""

from PIL import Image
import pytest

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
  assert error.splitlines()[-1] == (
      'Error: Another process has stopped, or cannot be reached. Its message'
      ' gives the reason.'
  )
  assert 'Traceback' not in error
