"""House rules of the code: short, documented, annotated, one place to print."""

import ast

from tests import package


def public_definitions(tree, *, inside=False):
  """The public classes, functions and methods of a module.

  Methods that Python itself calls, such as `__call__`, are public.
  """
  for node in tree.body:
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
      continue
    called_by_python = inside and node.name.startswith('__')
    if node.name.startswith('_') and not called_by_python:
      continue
    yield node
    if isinstance(node, ast.ClassDef):
      yield from public_definitions(node, inside=True)


def test_all_that_is_public_has_a_docstring():
  modules = [
      m for m in package.MODULES if not ast.get_docstring(package.parse(m))
  ]
  assert not modules
  nameless = [
      f'{module}: {node.name}'
      for module in package.MODULES
      for node in public_definitions(package.parse(module))
      if not node.name.startswith('__') and not ast.get_docstring(node)
  ]
  assert not nameless


# Passed by Python, or unused.
UNANNOTATED = {'self', 'cls', '_'}


def arguments(function):
  """All arguments of a function, of every kind."""
  found = function.args
  several = [found.vararg, found.kwarg]
  yield from found.posonlyargs + found.args + found.kwonlyargs
  yield from (argument for argument in several if argument)


def test_every_public_argument_is_annotated():
  bare = [
      f'{module}: {node.name}({argument.arg})'
      for module in package.MODULES
      for node in public_definitions(package.parse(module))
      if isinstance(node, ast.FunctionDef)
      for argument in arguments(node)
      if argument.annotation is None and argument.arg not in UNANNOTATED
  ]
  assert not bare


def calls_of_pillows_open(file):
  """The calls of `Image.open` in a file."""
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module == 'PIL.Image':
      raise AssertionError(f'{file} imports names from PIL.Image')
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
        'Image.open'
    ):
      yield node


def test_pillow_opens_only_formats_that_are_named():
  """Otherwise it tries every format; PostScript would start a program."""
  found = [
      (file, [keyword.arg for keyword in call.keywords])
      for file in [*package.FILES, *(package.ROOT / 'docs').rglob('*.py')]
      for call in calls_of_pillows_open(file)
  ]
  assert package.PACKAGE / 'data' / 'image_files.py' in dict(found)
  assert not [file for file, names in found if 'formats' not in names]


def test_bars_are_made_in_one_place():
  """There, a bar that fails does not stop the work it shows."""
  made = [
      module
      for module in package.MODULES
      for node in ast.walk(package.parse(module))
      if isinstance(node, ast.Call)
      and ast.unparse(node.func) in ('tqdm.tqdm', 'tqdm.trange')
  ]
  assert made == ['distributed.progress']


# The module that prints for users, and the ones in which a command line prints
# usage, --help and errors.
SPEAKERS = {
    '__main__',
    'cli.command',
    'config.reference',  # Writes a page.
    'distributed.console',
}


def prints_to_people(node):
  """Whether a node calls `print`, except into a given file."""
  if not isinstance(node, ast.Call) or ast.unparse(node.func) != 'print':
    return False
  to = [ast.unparse(k.value) for k in node.keywords if k.arg == 'file']
  return not to or to[0].startswith('sys.')


def test_only_the_console_and_the_command_line_print():
  found = {
      module
      for module in package.MODULES
      if any(prints_to_people(node) for node in ast.walk(package.parse(module)))
  }
  assert found == SPEAKERS


def test_no_file_is_called_utils():
  vague = {'utils', 'util', 'helpers', 'misc', 'common'}
  assert not [name for name in package.MODULES if name.split('.')[-1] in vague]


def lengths():
  """Lines of every file and of every function: (what, lines, most allowed)."""
  for module, file in package.MODULES.items():
    yield module, len(file.read_text().splitlines()), 300
    for node in ast.walk(package.parse(module)):
      if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield f'{module}.{node.name}', node.end_lineno - node.lineno + 1, 60


def test_files_and_functions_stay_short():
  wrong = [
      f'{name} has {lines} lines'
      for name, lines, most in lengths()
      if lines > most
  ]
  assert not wrong
