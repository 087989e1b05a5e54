"""Huge pages for large arrays in the memory of the host.

XLA allocates the temporary arrays of a program anew for each execution on a
CPU, and Linux then fills in their pages of 4 KiB one by one, which takes up to
a fifth of a training step. Pages of 2 MiB take almost no time. Where Linux uses
them only on request, the C library must ask for them, which it decides when a
process starts.
"""

import contextlib
import os
import pathlib
import sys

_LINUX = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')
_VARIABLE, _OPTION = 'GLIBC_TUNABLES', 'glibc.malloc.hugetlb'
_GLIBC = (2, 35)  # The first one with the option.


def start_again() -> None:
  """Starts this program again with huge pages, where they must be asked for.

  Does nothing if the variable GLIBC_TUNABLES sets glibc.malloc.hugetlb already,
  to 0 for none, or if Linux or its C library does not offer the choice.
  """
  tunables = os.environ.get(_VARIABLE, '')
  if _OPTION in tunables or not sys.executable or not _on_request():
    return
  joined = ':'.join(filter(None, [tunables, f'{_OPTION}=1']))
  environment = os.environ | {_VARIABLE: joined}
  argv = [sys.executable, *sys.orig_argv[1:]]
  with contextlib.suppress(OSError):  # The program is only slower then.
    os.execve(sys.executable, argv, environment)


def _on_request() -> bool:
  """Whether Linux gives huge pages to those who ask, and glibc can ask."""
  try:
    name, version = (os.confstr('CS_GNU_LIBC_VERSION') or ' ').split(' ')
    numbers = tuple(map(int, version.split('.')))
    return (
        name == 'glibc'
        and numbers >= _GLIBC
        and '[madvise]' in _LINUX.read_text()
    )
  except (AttributeError, OSError, ValueError):  # Not Linux, or not glibc.
    return False
