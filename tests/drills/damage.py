"""Damages one file of a folder at a time, in ways that faults do."""

import os
import shutil

import numpy as np


def flip(file, rng):
  """Flips one random bit of a file; returns False if it is empty."""
  content = bytearray(file.read_bytes())
  if not content:
    return False
  bit = int(rng.integers(8 * len(content)))
  content[bit // 8] ^= 1 << bit % 8
  _overwrite(file, bytes(content))
  return True


def truncate(file, rng):
  """Cuts a file off at a random place, or empties it."""
  content = file.read_bytes()
  if not content:
    return False
  _overwrite(file, content[: int(rng.integers(len(content)))])
  return True


def remove(file, rng):
  """Removes a file."""
  del rng
  file.unlink()
  return True


def swap(file, rng):
  """Swaps a file with another one of its kind; returns False without one."""
  others = [
      other
      for other in sorted(file.parent.iterdir())
      if other.is_file()
      and other.suffix == file.suffix
      and not other.name.startswith('.')
      and other.read_bytes() != file.read_bytes()
  ]
  if not others:
    return False
  other = others[int(rng.integers(len(others)))]
  kept = file.read_bytes()
  _overwrite(file, other.read_bytes())
  _overwrite(other, kept)
  return True


def outcome(sound, damaged, *, damage, number, seed, kind, expected):
  """Damages a copy of a folder, and reads it.

  Args:
    sound: The folder.
    damaged: Where the copy goes; it is replaced.
    damage: One of the functions above.
    number: Index of the file, modulo the number of files.
    seed: Seed of the place of the damage.
    kind: The `job_folders.Kind` of the folder.
    expected: What `kind.read` returns for the sound folder.

  Returns:
    None if the file cannot be damaged like this; else the name of the file, and
    'equal', 'different', or the exception.
  """
  shutil.rmtree(damaged, ignore_errors=True)
  shutil.copytree(sound, damaged)
  files = kind.files(damaged)
  file = files[number % len(files)]
  if not damage(file, np.random.default_rng(seed)):
    return None
  name = str(file.relative_to(damaged))
  try:
    found = kind.read(damaged)
  except Exception as error:
    return name, error
  return name, 'equal' if found == expected else 'different'


def _overwrite(file, content):
  """Replaces the content, not the times: faults of disks do not change them."""
  status = file.stat()
  file.write_bytes(content)
  os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
