"""The launch scripts, with a fake Python that builds no environments."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

pytestmark = pytest.mark.process

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / 'launch').glob('*.sh')) + [ROOT / '.ci' / 'run']
# How all tests are run.
TWO = '-n 2 --dist=loadfile --no-loadscope-reorder'

# What pip runs to install a clone in place.
EDITABLE = "from setuptools import build_meta; build_meta.build_editable('.')"

# Logs the calls of pip and of modules, instead of running them.
FAKE_PYTHON = """#!/usr/bin/env bash
log=@LOG@
case "$*" in
  *'-m venv'*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
  '-m pip --version') ;;
  '-m pip download'*) echo "$@" >>"$log"; mkdir -p "$5" ;;
  '-m pip'*) echo "$@" >>"$log" ;;
  '-m'*) echo "ran: $* in $PWD after $RQ_JAX_SETUP_SECONDS" ;;
  -V*) echo 'Python 3.11.0' ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
  """The files that scripts need, in a folder whose name has a space."""
  folder = tmp_path / 'a clone'
  shutil.copytree(ROOT / 'launch', folder / 'launch')
  shutil.copytree(ROOT / '.ci', folder / '.ci')
  for name in ('setup.py', 'constraints.txt'):
    shutil.copy(ROOT / name, folder)
  return folder


def fake_python(clone, text=FAKE_PYTHON):
  """An executable beside the clone, and the path of its log."""
  log = clone.parent / 'pip.log'
  python = clone.parent / 'fake_python'
  python.write_text(text.replace('@LOG@', f"'{log}'"))
  python.chmod(0o755)
  return python, log


def launch(clone, script, *arguments, **environment):
  """Runs a script of the clone from another folder."""
  return subprocess.run(
      [shutil.which('bash'), clone / script, *arguments],
      cwd=clone.parent,
      env={'PATH': os.environ['PATH'], **environment},
      capture_output=True,
      text=True,
      check=False,
  )


def error_of(result):
  """The only line on stderr of a script that failed."""
  assert result.returncode == 1
  lines = result.stderr.splitlines()
  assert len(lines) == 1, result.stderr
  return lines[0]


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_bash(script):
  subprocess.run(['bash', '-n', script], check=True)


@pytest.mark.parametrize(
    ('script', 'usage'),
    [
        ('test.sh', 'bash launch/test.sh tests/models -x'),
        ('test.sh', 'bash launch/test.sh --fast'),
        ('quickstart.sh', 'bash launch/quickstart.sh [--seed=0]'),
    ],
)
def test_a_script_prints_its_usage_without_setting_up(clone, script, usage):
  result = launch(clone, f'launch/{script}', '--help', PYTHON='/nowhere')
  assert result.returncode == 0
  assert usage in result.stdout
  assert not (clone / '.venv').exists()


def test_an_old_python_is_refused_in_one_line(clone):
  python, _ = fake_python(
      clone,
      '#!/usr/bin/env bash\n[[ $1 != -c ]] || exit 1\necho Python 3.9.2\n',
  )
  result = launch(clone, 'launch/quickstart.sh', PYTHON=str(python))
  assert 'Python >= 3.11 is missing' in error_of(result)
  assert str(python) in result.stderr


def test_no_python_at_all_is_said_in_one_line(clone):
  tools = clone.parent / 'tools'
  tools.mkdir()
  (tools / 'dirname').symlink_to(shutil.which('dirname'))
  result = launch(clone, 'launch/quickstart.sh', PATH=str(tools))
  assert 'Python >= 3.11 is missing' in error_of(result)
  assert 'python3.12' in result.stderr


def test_the_newest_python_on_the_path_stands_in_for_an_old_python3(clone):
  python, _ = fake_python(clone)
  tools = clone.parent / 'tools'
  tools.mkdir()
  (tools / 'python3.12').symlink_to(python)
  for name in ('python3', 'python3.13'):
    (tools / name).write_text('#!/usr/bin/env bash\nexit 1\n')
    (tools / name).chmod(0o755)
  path = f'{tools}:{os.environ["PATH"]}'
  result = launch(clone, 'launch/quickstart.sh', PATH=path)
  assert result.returncode == 0, result.stderr
  assert 'ran: -m rq_jax quickstart' in result.stdout


def test_a_missing_venv_module_is_said_in_one_line(clone):
  python, _ = fake_python(
      clone,
      '#!/usr/bin/env bash\n'
      f'[[ "$*" != *ensurepip* ]] && exec {sys.executable} "$@"\nexit 1\n',
  )
  result = launch(clone, 'launch/test.sh', PYTHON=str(python))
  assert error_of(result) == (
      'python3-venv is missing. Run: apt install python3-venv'
  )


def test_a_failing_venv_leaves_its_last_words(clone):
  python, _ = fake_python(
      clone,
      '#!/usr/bin/env bash\n[[ $* != *venv* || $1 == -c ]] || '
      "{ echo; echo 'disk is full'; exit 1; }\n",
  )
  result = launch(clone, 'launch/test.sh', PYTHON=str(python))
  assert error_of(result).endswith('.venv cannot be created: disk is full')


@pytest.mark.parametrize(
    ('step', 'words'),
    [
        (
            'download',
            'cannot download the packages. Check the network, and see',
        ),
        ('install --no-index', 'cannot install the packages. See'),
    ],
)
def test_a_failing_pip_names_its_log(clone, step, words):
  text = FAKE_PYTHON.replace(
      'case "$*" in\n',
      f"case \"$*\" in\n  *'pip {step}'*) echo 'no route'; exit 1 ;;\n",
  )
  python, _ = fake_python(clone, text)
  result = launch(clone, 'launch/quickstart.sh', PYTHON=str(python))
  log = clone / '.venv' / 'setup.log'
  assert error_of(result) == f'pip {words} {log}.'
  assert log.read_text() == 'no route\n'
  assert 'ran:' not in result.stdout


def test_arguments_are_passed_on_to_the_quickstart(clone):
  python, _ = fake_python(clone)
  result = launch(
      clone, 'launch/quickstart.sh', '--seed=1', '--help', PYTHON=str(python)
  )
  assert f'ran: -m rq_jax quickstart --seed=1 --help in {clone}' in (
      result.stdout
  )


def test_the_whole_suite_takes_two_cores_and_a_part_what_it_is_told(clone):
  python, _ = fake_python(clone)
  whole = launch(clone, 'launch/test.sh', PYTHON=str(python))
  assert f'ran: -m pytest {TWO} in {clone}' in whole.stdout
  part = launch(clone, 'launch/test.sh', 'tests/a_test.py', PYTHON=str(python))
  assert f'ran: -m pytest tests/a_test.py in {clone}' in part.stdout


def test_the_fast_part_leaves_out_what_is_slow_and_takes_more_arguments(clone):
  python, _ = fake_python(clone)
  fast = '-m not process and not slow'
  alone = launch(clone, 'launch/test.sh', '--fast', PYTHON=str(python))
  assert f'ran: -m pytest {fast} {TWO} in {clone}' in alone.stdout
  more = launch(clone, 'launch/test.sh', '--fast', '-x', PYTHON=str(python))
  assert f'ran: -m pytest {fast} -x in {clone}' in more.stdout


def test_a_current_environment_is_left_alone(clone):
  python, log = fake_python(clone)
  first = launch(clone, 'launch/test.sh', PYTHON=str(python))
  assert 'Downloaded the packages in' in first.stdout
  calls = log.read_text()
  # The extras of the tests include those of the quickstart.
  second = launch(clone, 'launch/quickstart.sh', PYTHON=str(python))
  seconds = json.loads(second.stdout.split(' after ')[1])
  assert seconds == {'download': 0, 'install': 0}
  assert log.read_text() == calls


@pytest.mark.parametrize('change', ['setup.py', 'constraints.txt', 'folder'])
def test_a_changed_or_moved_clone_is_set_up_again(clone, change):
  python, log = fake_python(clone)
  launch(clone, 'launch/quickstart.sh', PYTHON=str(python))
  calls = log.read_text().count('pip download')
  if change == 'folder':
    clone = clone.rename(clone.parent / 'moved')
  else:
    with open(clone / change, 'a') as file:
      file.write('# Another line.\n')
  result = launch(clone, 'launch/quickstart.sh', PYTHON=str(python))
  assert result.returncode == 0, result.stderr
  assert log.read_text().count('pip download') == calls + 1


def test_scripts_beside_a_clone_import_the_package_in_it(clone):
  clone = clone.rename(clone.parent / 'rq_jax')
  for name in ('LICENSE', 'NOTICE'):
    shutil.copy(ROOT / name, clone)
  (clone / 'rq_jax').mkdir()
  (clone / 'rq_jax' / '__init__.py').touch()
  subprocess.run(
      [sys.executable, '-c', EDITABLE], cwd=clone, check=True, timeout=60
  )
  (wheel,) = clone.glob('*.whl')
  with zipfile.ZipFile(wheel) as archive:
    (path,) = (n for n in archive.namelist() if n.endswith('.pth'))
    # A path, not a hook: hooks come after the folder of the script.
    assert archive.read(path).decode().strip() == str(clone)


def test_only_pinned_versions_are_fetched_and_none_while_installing(clone):
  python, log = fake_python(clone)
  launch(clone, 'launch/quickstart.sh', PYTHON=str(python))
  tools, download, install = log.read_text().splitlines()
  for call in (tools, download, install):
    assert f'-c {clone}/constraints.txt' in call
  assert download.endswith(f'{clone}[quickstart]')
  assert '--no-index' in install
  assert install.endswith(f'-e {clone}[quickstart]')


@pytest.mark.parametrize(
    'failing', ['ruff', 'pyink', 'pyright', 'pytest', 'none']
)
def test_the_ci_runs_every_check_and_fails_if_one_does(clone, failing):
  text = FAKE_PYTHON.replace(
      'case "$*" in\n',
      f'case "$*" in\n  -m\\ {failing}*) exit 3 ;;\n',
  )
  python, _ = fake_python(clone, text)
  result = launch(clone, '.ci/run', PYTHON=str(python))
  assert result.returncode == (0 if failing == 'none' else 1)
  checks = {'ruff check .', 'pyink --check .', 'pyright', 'pytest -n 2'}
  passed = {check for check in checks if f'ran: -m {check}' in result.stdout}
  assert passed == {check for check in checks if failing not in check}
