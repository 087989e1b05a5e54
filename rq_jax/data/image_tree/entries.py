"""Which entries of a folder are images, and which are ignored."""

import os

from rq_jax.data import image_files

# What operating systems and other programs leave in folders, in lower case.
_SYSTEM = frozenset(
    {
        '#recycle',
        '#snapshot',
        '$recycle.bin',
        '@eadir',
        '@recently-snapshot',
        '@recycle',
        '__macosx',
        '__pycache__',
        'desktop.ini',
        'ehthumbs.db',
        'ehthumbs_vista.db',
        'icon\r',
        'lost+found',
        'recycler',
        'system volume information',
        'thumbs.db',
    }
)
_LONGEST_ENDING = 6  # Characters, including the dot.


def ignored(name: str) -> str | None:
  """Why an entry with this name is ignored; None if it is not.

  Hidden entries begin with a dot, such as `.DS_Store`, `._x.jpg` or
  `.ipynb_checkpoints`. An ignored folder is never entered.
  """
  if name.startswith('.'):
    return 'hidden files and folders'
  if name.lower() in _SYSTEM:
    return 'system files and folders'
  return None


def is_image(name: str) -> bool:
  """Whether a name has the ending of an image file, in any case of letters."""
  return os.path.splitext(name)[1].lower() in image_files.EXTENSIONS


def kind(name: str) -> str:
  """The kind of a file that is no image, for messages: '.gif files'."""
  ending = os.path.splitext(name)[1].lower()
  known = 1 < len(ending) <= _LONGEST_ENDING and not ending[1:].isdecimal()
  return f'{ending} files' if known else 'other files'
