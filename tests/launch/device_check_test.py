"""`launch/device_check.sh`, with a stand-in for Python, and on this CPU."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.launch import clones
from tests.launch.clones import clone  # noqa: F401 (a fixture)

pytestmark = pytest.mark.process

SCRIPT = 'launch/device_check.sh'
# Prints its folder, the share of memory and each of its arguments.
PYTHON = """
[[ $1 != -c ]] || exit 0
printf '%s\\n' "$0" "$PWD" "$XLA_PYTHON_CLIENT_MEM_FRACTION" "$@"
exit 7
"""


COMMAND = ['-m', 'rq_jax', 'benchmark', 'device']


@pytest.fixture
def installed(clone):  # noqa: F811
  """A clone with a stand-in for Python in its .venv, and one beside it."""
  for python in (clone / '.venv/bin/python', clone.parent / 'another'):
    clones.write_program(python, PYTHON)
  return clone


def test_all_flags_reach_the_command(installed):
  python = str(installed.parent / 'another')
  code, output, errors = clones.run(
      installed,
      SCRIPT,
      '--small',
      '--out=a file.json',
      '--minutes=2.5',
      PYTHON=python,
      XLA_PYTHON_CLIENT_MEM_FRACTION='0.5',
  )
  assert (code, errors) == (7, '')
  flags = ['--out=a file.json', '--small', '--minutes=2.5']
  assert output.splitlines() == [
      python,
      str(installed),
      '0.5',
      *COMMAND,
      *flags,
  ]


def test_without_flags_the_python_of_the_clone_writes_into_it(installed):
  elsewhere = 'cd / && bash "$0"'
  code, output, errors = clones.run(
      installed, '-c', elsewhere, installed / SCRIPT
  )
  assert (code, errors) == (7, '')
  assert output.splitlines() == [
      str(installed / '.venv/bin/python'),
      str(installed),
      '0.92',
      *COMMAND,
      '--out=device.json',
  ]


@pytest.mark.parametrize('word', ['--smal', '--minutes', 'x.json', '--small=1'])
def test_unknown_flags_are_refused(installed, word):
  code, output, errors = clones.run(installed, SCRIPT, '--small', word)
  assert (code, output) == (1, '')
  assert errors == f'{word} is not a flag of device_check.sh. See --help.\n'
  _, usage, _ = clones.run(installed, SCRIPT, '--help')
  words = ' '.join(usage.split())
  assert 'Exit code 1: cases failed, or a flag is unknown.' in words


@pytest.mark.slow
def test_a_small_check_without_time_writes_every_part(tmp_path):
  """The real command; other tests measure the cases that take long."""
  path = tmp_path / 'x.json'
  flags = re.sub(
      r'(?<=platform_device_count=)\d+', '1', os.environ['XLA_FLAGS']
  )
  ended = subprocess.run(
      ['bash', SCRIPT, '--small', '--minutes=0', f'--out={path}'],
      cwd=clones.ROOT,
      env=os.environ | {'PYTHON': sys.executable, 'XLA_FLAGS': flags},
      capture_output=True,
      text=True,
      check=False,
  )
  assert ended.returncode == 0, ended.stderr
  record = json.loads(path.read_text())
  assert (record['small'], record['minutes']) == (True, 0)
  states = {
      part: {case['state'] for case in cases}
      for part, cases in record['parts'].items()
  }
  assert states == {
      'constants': {'done'},
      'sampling': {'skipped'},
      'training': {'skipped'},
      'kernels': {'skipped'},
      'greedy': {'done'},
      'decoding': {'skipped'},
  }
  for case in record['parts']['greedy']:
    assert case['found']['share_equal'] == 1
  for case in record['parts']['kernels']:
    assert case['reason'].startswith('Only 0 s are left')
