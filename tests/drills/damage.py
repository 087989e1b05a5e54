"""Damages one file of a folder at a time, in ways that faults do."""

import shutil

import numpy as np


def flip(file, rng):
  """Flips one random bit of a file; returns False if it is empty."""
  content = bytearray(file.read_bytes())
  if not content:
    return False
  bit = int(rng.integers(8 * len(content)))
  content[bit // 8] ^= 1 << bit % 8
  file.write_bytes(content)
  return True


def truncate(file, rng):
  """Cuts a file off at a random place, or empties it."""
  size = file.stat().st_size
  if not size:
    return False
  with file.open('r+b') as stream:
    stream.truncate(int(rng.integers(size)))
  return True


def remove(file, rng):
  """Removes a file."""
  del rng
  file.unlink()
  return True


def swap(file, rng):
  """Swaps a file with another one of the same kind in its folder."""
  others = [
      other
      for other in sorted(file.parent.iterdir())
      if other != file
      and other.suffix == file.suffix
      and other.is_file()
      and not other.name.startswith('.')
      and other.read_bytes() != file.read_bytes()
  ]
  if not others:
    return False
  other = others[int(rng.integers(len(others)))]
  kept = file.read_bytes()
  file.write_bytes(other.read_bytes())
  other.write_bytes(kept)
  return True


def outcome(sound, damaged, *, damage, number, seed, read, expected, files_of):
  """Damages a copy of a folder, and reads it.

  Args:
    sound: The folder.
    damaged: Where the copy goes; replaced.
    damage: One of the functions above.
    number: Index of the file, modulo the number of files.
    seed: Seed of the place of the damage.
    read: Returns what a user gets from a folder.
    expected: What `read` returns for the sound folder.
    files_of: Returns the files of a folder.

  Returns:
    The name of the file, and 'equal', 'silent' or the text of the error; None
    if the file cannot be damaged like this.
  """
  shutil.rmtree(damaged, ignore_errors=True)
  shutil.copytree(sound, damaged)
  file = files_of(damaged)[number % len(files_of(damaged))]
  name = str(file.relative_to(damaged))
  status = file.stat()
  if not damage(file, np.random.default_rng(seed)):
    return None
  if file.exists():  # Damage of a disk does not change the time.
    import os

    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
  try:
    found = read(damaged)
  except Exception as error:
    return name, error
  return name, 'equal' if found == expected else 'silent'
