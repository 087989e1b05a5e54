"""Folders with files of any content, to list."""


def fill(folder, *names):
  """Creates files, which no list opens, and the folders they lie in."""
  for name in names:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b'x')
  return folder


def paths(tree):
  """Paths of all files of a tree, in order."""
  start, found = 0, []
  for folder, end in zip(tree.folders, tree.ends, strict=True):
    for i in range(start, end):
      found.append('/'.join(filter(None, (folder, tree.files[i]))))
    start = end
  return found
