"""Programs in separate processes, which may work together.

Tests that start one are marked `process` by tests/conftest.py.
"""

import dis
import inspect
import os
import pathlib
import re
import socket
import subprocess
import sys
import types

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def free_port():
  """A port of this machine that nothing listens on."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return free.getsockname()[1]


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


def end(started, number=None):
  """Sends a signal, if any; returns exit codes, outputs and errors."""
  try:
    for process in started if number else ():
      process.send_signal(number)
    texts = [process.communicate(timeout=300) for process in started]
  finally:
    for process in started:
      process.kill()
  return [(p.returncode, *text) for p, text in zip(started, texts)]


def are_started_by(test):
  """Whether a test or fixture, or a function that it calls, starts one."""
  waiting, seen = [test], set()
  while waiting:
    function = inspect.unwrap(waiting.pop())
    if function in seen or not isinstance(function, types.FunctionType):
      continue
    seen.add(function)
    for name in _names(function.__code__):
      value = function.__globals__.get(name)
      if value is subprocess or value is sys.modules[__name__]:
        return True
      if getattr(value, '__module__', None) == function.__module__:
        waiting.append(value)
  return False


def _names(code):
  """Global names that a function and its inner functions use."""
  for instruction in dis.get_instructions(code):
    if instruction.opname == 'LOAD_GLOBAL':
      yield instruction.argval
  for constant in code.co_consts:
    if isinstance(constant, types.CodeType):
      yield from _names(constant)
