"""Programs in separate processes, which may work together.

Tests that start one carry the mark `process`; tests/conftest.py stops others.
"""

import os
import pathlib
import re
import socket
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def free_port():
  """A port of this machine that nothing listens on."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return free.getsockname()[1]


def joining(count):
  """Flags for each of `count` processes of a command that work together."""
  if count == 1:
    return [['--distributed=off']]
  shared = [f'--coordinator=localhost:{free_port()}', f'--processes={count}']
  return [[*shared, f'--process={i}'] for i in range(count)]


def start(program, *arguments, devices=1, variables=()):
  """Starts a program in Python, with some devices and environment variables."""
  # The other flags are the same, so that the cache has the programs.
  flags = re.sub(
      r'(?<=platform_device_count=)\d+', str(devices), os.environ['XLA_FLAGS']
  )
  return subprocess.Popen(
      [sys.executable, '-c', program, *map(str, arguments)],
      cwd=_ROOT,
      # Collectives block threads, and XLA has only one per core.
      env=os.environ | {'XLA_FLAGS': flags, 'NPROC': '16'} | dict(variables),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


def end(started, number=None, timeout=300):
  """Sends a signal, if any; returns exit codes, outputs and errors."""
  try:
    for process in started if number else ():
      process.send_signal(number)
    texts = [process.communicate(timeout=timeout) for process in started]
  finally:
    for process in started:
      process.kill()
  return [(p.returncode, *text) for p, text in zip(started, texts)]
