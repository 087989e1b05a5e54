"""A copy of the launch scripts, with stand-ins for the programs they start.

Tests that use it start processes and carry the mark `process`.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path):
  """The launch scripts, in a folder whose name has a space."""
  folder = tmp_path / 'a clone'
  shutil.copytree(ROOT / 'launch', folder / 'launch')
  return folder


def write_program(path, text):
  """Writes a stand-in for a program, in bash."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(f'#!/usr/bin/env bash\n{text}')
  path.chmod(0o755)


def start(clone, *words, **variables):
  """Starts a script in the clone; stand-ins come first on PATH."""
  path = f'{clone.parent / "tools"}:{os.environ["PATH"]}'
  return subprocess.Popen(
      ['bash', *map(str, words)],
      cwd=clone,
      env={'PATH': path, 'HOME': str(clone.parent), **variables},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


def run(clone, *words, **variables):
  """Runs a script; returns exit code, output and errors."""
  process = start(clone, *words, **variables)
  output, errors = process.communicate(timeout=60)
  return process.returncode, output, errors
