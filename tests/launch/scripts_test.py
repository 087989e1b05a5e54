"""Every launch script: valid, linted, and with a usage that costs nothing."""

import os
import pathlib
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.process

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCHERS = sorted(
    file.relative_to(ROOT)
    for pattern in ('*.sh', '*.sbatch')
    for file in (ROOT / 'launch').rglob(pattern)
    if file.name != 'setup_venv.sh'  # It is only sourced.
)


@pytest.mark.parametrize('script', LAUNCHERS, ids=str)
def test_a_script_is_valid_and_explains_itself(script, tmp_path):
  subprocess.run(['bash', '-n', ROOT / script], check=True)
  # Also where nothing is installed.
  help_ = subprocess.run(
      ['bash', ROOT / script, '--help'],
      cwd=tmp_path,
      env={'PATH': os.defpath},
      capture_output=True,
      text=True,
      check=True,
  )
  assert str(script) in help_.stdout
  assert not help_.stderr
  assert '#' not in help_.stdout.replace('#SBATCH', '')


def test_shellcheck_finds_nothing():
  if not shutil.which('shellcheck'):
    pytest.skip('shellcheck is not installed: apt install shellcheck')
  scripts = [*LAUNCHERS, 'launch/setup_venv.sh', '.ci/run']
  found = subprocess.run(
      ['shellcheck', *scripts],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
  )
  assert found.returncode == 0, found.stdout


@pytest.mark.parametrize('script', LAUNCHERS, ids=str)
def test_the_readme_of_the_launchers_names_every_script(script):
  assert str(script) in (ROOT / 'launch' / 'README.md').read_text()
