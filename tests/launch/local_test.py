"""`launch/local.sh`, with stand-ins for the processes that it starts."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests import tiny_flags
from tests.launch import clones
from tests.launch.clones import clone  # noqa: F401 (a fixture)
from tests.signals import not_ignored  # noqa: F401 (a fixture)

pytestmark = pytest.mark.process

SCRIPT = 'launch/local.sh'
# Finds a port; otherwise, process I runs $RUN_I, or else $RUN.
PYTHON = """
if [[ $1 == -c ]]; then
  [[ $2 != *socket* ]] || echo 4321
  exit
fi
[[ $* =~ --process=([0-9]) ]] && i=${BASH_REMATCH[1]} || i=0
run=RUN_$i
eval "${!run-${RUN-}}"
"""
# Exits with 75 at any signal, and says which one it was.
PATIENT = """
for name in INT TERM USR1 HUP; do trap "echo got $name; exit 75" $name; done
echo waiting
for _ in {1..300}; do sleep 0.1; done
"""


@pytest.fixture
def installed(clone):  # noqa: F811
  """A clone whose .venv has a stand-in for Python."""
  clones.write_program(clone / '.venv/bin/python', PYTHON)
  return clone


def test_every_process_joins_the_others(installed):
  code, output, errors = clones.run(
      installed, SCRIPT, '--processes=3', 'train', '--config=a b', RUN='echo $*'
  )
  assert (code, errors) == (0, '')
  flags = '-m rq_jax train --config=a b --coordinator=localhost:4321'
  assert sorted(output.splitlines()) == [
      f'{flags} --processes=3 --process=0',
      f'[1] {flags} --processes=3 --process=1',
      f'[2] {flags} --processes=3 --process=2',
  ]


def test_a_single_process_gets_only_its_command(installed):
  _, output, _ = clones.run(
      installed, SCRIPT, '--processes=1', 'inspect', RUN='echo $*'
  )
  assert output == '-m rq_jax inspect\n'


def test_devices_are_simulated_on_the_cpu(installed):
  _, output, _ = clones.run(
      installed,
      SCRIPT,
      '--processes=1',
      '--devices=4',
      'train',
      RUN='echo $JAX_PLATFORMS $XLA_FLAGS',
      XLA_FLAGS='--xla_other=1',
  )
  assert output.split() == [
      'cpu',
      '--xla_other=1',
      '--xla_force_host_platform_device_count=4',
  ]


@pytest.mark.parametrize(
    ('codes', 'expected'),
    [
        ((0, 0), 0),
        ((75, 75), 75),
        ((0, 75), 75),
        ((75, 1), 1),
        ((3, 75), 3),
        ((0, 137), 137),
    ],
)
def test_75_counts_only_if_no_process_fails(installed, codes, expected):
  runs = {f'RUN_{i}': f'exit {code}' for i, code in enumerate(codes)}
  code, _, errors = clones.run(installed, SCRIPT, 'train', **runs)
  assert code == expected
  failed = [i for i, code in enumerate(codes) if code not in (0, 75)]
  assert errors.splitlines() == [
      f'Process {i} has failed, with exit code {codes[i]}.' for i in failed
  ]


def until_waiting(started, count):
  """Reads lines until all processes wait for a signal."""
  lines = [started.stdout.readline() for _ in range(count)]
  assert sorted(lines) == ['[1] waiting\n', 'waiting\n']


@pytest.mark.parametrize('name', ['INT', 'TERM', 'USR1', 'HUP'])
def test_a_signal_reaches_every_process(installed, name):
  started = clones.start(installed, SCRIPT, 'train', RUN=PATIENT)
  until_waiting(started, 2)
  started.send_signal(signal.Signals[f'SIG{name}'])
  output, errors = started.communicate(timeout=30)
  assert sorted(output.splitlines()) == [f'[1] got {name}', f'got {name}']
  assert (started.returncode, errors) == (75, '')


def test_a_process_that_is_still_starting_is_interrupted_too(installed):
  started = clones.start(
      installed, SCRIPT, 'train', RUN='echo waiting; exec sleep 30'
  )
  until_waiting(started, 2)
  started.send_signal(signal.SIGTERM)
  started.communicate(timeout=30)
  assert started.returncode == 75


def test_a_process_that_is_stopped_has_not_ended(installed):
  code, _, errors = clones.run(
      installed,
      SCRIPT,
      'train',
      RUN_0='echo $$ >id; kill -STOP $$; exit 7',
      RUN_1='sleep 1; kill -CONT $(cat id)',
  )
  assert code == 7
  assert errors == 'Process 0 has failed, with exit code 7.\n'


def test_processes_that_are_left_after_a_failure_are_killed(installed):
  script = installed / SCRIPT
  text = script.read_text()
  assert 'GRACE=60 ' in text
  script.write_text(text.replace('GRACE=60 ', 'GRACE=1 '))
  code, _, errors = clones.run(
      installed, SCRIPT, 'train', RUN_0='exec sleep 30', RUN_1='exit 4'
  )
  assert code == 4
  assert errors.splitlines() == [
      'Process 1 has failed, with exit code 4.',
      'Killing the processes that are left: 0.',
      'Process 0 has failed, with exit code 137.',
  ]


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--processes=0', 'train'], "must be at least 1, but one is '0'"),
        (['--devices=two', 'train'], "but one is 'two'"),
        (['--workdir=a', 'train'], '--workdir=a is not a flag of local.sh'),
        (['--processes=2'], 'Name a command, such as train.'),
    ],
)
def test_mistakes_are_said_in_one_line(installed, words, message):
  code, output, errors = clones.run(installed, SCRIPT, *words)
  assert (code, output) == (1, '')
  assert re.fullmatch(f'.*{re.escape(message)}.*\n', errors)


def test_a_python_without_jax_is_refused(clone):  # noqa: F811
  clones.write_program(clone.parent / 'tools/python', 'exit 1\n')
  code, _, errors = clones.run(clone, SCRIPT, 'train')
  assert code == 1
  assert errors == ("python has no JAX. Run: pip install -e '.[quickstart]'\n")


@pytest.mark.slow
def test_ctrl_c_saves_a_run_of_two_processes(tmp_path):
  """The real command; the folder of this Python is first on the path."""
  workdir = tmp_path / 'run'
  path = f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}'
  started = subprocess.Popen(
      ['bash', SCRIPT, '--devices=2', 'train', *tiny_flags.FLAGS]
      + ['--config.train.steps=100000', f'--workdir={workdir}'],
      cwd=clones.ROOT,
      env=os.environ | {'PATH': path},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
  )
  metrics = workdir / 'metrics.jsonl'
  while started.poll() is None and not (
      metrics.exists() and 'train/loss' in metrics.read_text()
  ):
    time.sleep(0.1)
  started.send_signal(signal.SIGINT)
  output, _ = started.communicate(timeout=120)
  assert started.returncode == 75, output
  (saved,) = (workdir / 'checkpoints').iterdir()
  sentence = f'Interrupted: saved at step {saved.name}.'
  assert f'\n{sentence}' in output
  assert f'\n[1] {sentence}' in output
