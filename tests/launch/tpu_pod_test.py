"""`launch/tpu_pod.sh`, with a stand-in for gcloud whose workers are folders."""

import re
import shutil
import subprocess

import pytest

from tests.launch import clones
from tests.launch.clones import clone  # noqa: F401 (a fixture)

pytestmark = pytest.mark.process

SCRIPT = 'launch/tpu_pod.sh'
POD = ['--name=pod', '--zone=us-east5-b']
GOLDEN = clones.ROOT / 'tests' / 'launch' / 'tpu_pod_calls.txt'
# What `gcloud compute tpus tpu-vm VERB --help` lists, of version 528.
FLAGS = {
    'create': {'accelerator-type', 'version', 'spot', 'zone', 'project'},
    'ssh': {'worker', 'command', 'output-directory', 'zone', 'project'},
    'scp': {'worker', 'recurse', 'zone', 'project'},
    'delete': {'zone', 'project'},
}
CALLS = [
    ['create', '--type=v6e-64'],
    ['create', '--type=v4-32', '--spot', '--project=mine', '--version=other'],
    ['install'],
    ['run', 'train', '--config=configs/digits/rqvae.py', '--workdir=gs://b/r'],
    ['logs', '--worker=3'],
    ['stop'],
    ['collect', '--to=here'],
    ['delete'],
]
# `ssh` runs commands in $HOME.
GCLOUD = """
echo "gcloud $*" >>"$HOME/calls"
for word in "$@"; do
  [[ $word != --command=* ]] || { cd "$HOME"; exec bash -c "${word#*=}"; }
  [[ $word != /*.tar.gz ]] || cp "$word" "$HOME"
done
"""


def dry(call):
  verb, *words = call
  return ['bash', SCRIPT, verb, '--dry_run', *POD, *words]


def test_the_calls_are_the_recorded_ones():
  """The recording is for readers, too: check it when it changes."""
  text = ''
  for call in CALLS:
    found = subprocess.run(
        dry(call),
        cwd=clones.ROOT,
        env={'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not found.stderr
    text += f'# {" ".join(call)}\n{found.stdout}'
  assert text == GOLDEN.read_text()


def test_gcloud_knows_every_flag():
  lines = [li for li in GOLDEN.read_text().splitlines() if li.startswith('gc')]
  assert len(lines) == 10
  for line in lines:
    words = re.sub(r"\$?'(\\.|[^'])*'", 'QUOTED', line).split()
    assert words[:4] == ['gcloud', 'compute', 'tpus', 'tpu-vm']
    flags = {w[2:].split('=')[0] for w in words[5:] if w.startswith('--')}
    assert flags <= FLAGS[words[4]], line


@pytest.fixture
def pod(clone):  # noqa: F811
  """A clone beside a gcloud whose worker has a stand-in for Python."""
  clones.write_program(clone.parent / 'tools/gcloud', GCLOUD)
  clones.write_program(
      clone.parent / 'rq_jax/.venv/bin/python',
      'trap "echo saving; exit 75" TERM\n'
      'printf "<%s>" "$@"; echo\n'
      'for _ in {1..300}; do sleep 0.1; done\n',
  )
  return clone


def log_of(pod):
  return (pod.parent / 'rq_jax/run.log').read_text()


def test_a_run_is_stopped_and_its_code_returned(pod):
  words = ['train', "--config=it's $HOME (a, b)", '--workdir=c']
  code, _, errors = clones.run(pod, SCRIPT, 'run', *POD, *words)
  assert (code, errors) == (0, '')
  try:
    again, _, errors = clones.run(pod, SCRIPT, 'run', *POD, *words)
    assert (again, errors) == (1, 'A command runs already. Stop it first.\n')
    while not log_of(pod).endswith('>\n'):
      pass
  finally:
    assert clones.run(pod, SCRIPT, 'stop', *POD)[0] == 0
  code, output, _ = clones.run(pod, SCRIPT, 'logs', *POD)
  assert code == 75
  assert output == (
      "<-m><rq_jax><train><--config=it's $HOME (a, b)><--workdir=c>\nsaving\n"
  )


def test_the_log_keeps_earlier_runs(pod):
  clones.write_program(
      pod.parent / 'rq_jax/.venv/bin/python', 'echo $3; exit 3\n'
  )
  for word in ('first', 'second'):
    clones.run(pod, SCRIPT, 'run', *POD, word)
    code, output, _ = clones.run(pod, SCRIPT, 'logs', *POD)
    assert code == 3
  assert output == 'first\nsecond\n'


def test_the_tracked_files_are_installed_as_they_are(pod):
  git = [shutil.which('git'), '-C', str(pod)]
  subprocess.run([*git, 'init', '-q'], check=True)
  subprocess.run([*git, 'add', '.'], check=True)
  (pod / 'launch/test.sh').write_text('changed')
  (pod / 'secret').touch()
  # It does the work of the worker, which ends before it would be set up.
  clones.write_program(pod.parent / 'tools/sudo', 'exit 0\n')
  (pod / 'launch/setup_venv.sh').write_text(
      (pod / 'launch/setup_venv.sh').read_text()
      + 'setup_venv() { echo "set up $1 in $ROOT"; }\n'
  )
  code, output, errors = clones.run(pod, SCRIPT, 'install', *POD)
  assert (code, errors) == (0, '')
  installed = pod.parent / 'rq_jax'
  assert output == f'set up tpu,gcs,fast in {installed}\n'
  assert (installed / 'launch/test.sh').read_text() == 'changed'
  assert not (installed / 'secret').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['create', '--zone=z'], 'Set --name and --zone of the pod.'),
        (['create', *POD], 'Set --type to an accelerator type'),
        (['create', *POD, '--type=v9-8'], 'The usual software of --type=v9-8'),
        (['run', *POD], 'Name a command, such as train.'),
        (['stop', *POD, 'train'], 'stop takes no argument train.'),
        (['start', *POD], "'start' must be create, install, run"),
        (['stop', '--help_me'], '--help_me is not a flag of tpu_pod.sh'),
    ],
)
def test_mistakes_are_said_in_one_line_and_cost_nothing(pod, words, message):
  code, output, errors = clones.run(pod, SCRIPT, *words)
  assert (code, output) == (1, '')
  assert re.fullmatch(f'{re.escape(message)}.*\n', errors)
  assert not (pod.parent / 'calls').exists()
