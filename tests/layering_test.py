"""The shape of the code: which modules import which, and how long they are."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'rq_jax'
FILES = sorted(PACKAGE.rglob('*.py'))

# From top to bottom. A module imports from its own layer or from below.
LAYERS = (
    {'__init__', '__main__'},
    {'cli'},
    {'jobs'},
    {'training'},
    {'sampling'},
    {'tokenizer'},
    {'checkpoints', 'compilation', 'conversion'},
    {'data', 'distributed', 'models', 'reports', 'text'},
    {'config'},
    {'evaluation', 'files', 'typing'},
)

# These must work where only jax, flax, optax and orbax are installed.
LIGHT = (
    'checkpoints',
    'models',
    'sampling',
    'tokenizer',
    'training.stage1',
    'training.stage2',
)
HEAVY = {
    'grain',
    'ml_collections',
    'sklearn',
    'tensorflow_datasets',
    'tokenizers',
}


def name_of(file):
  """Dotted name of a module within the package, '__init__' for its root."""
  parts = file.relative_to(PACKAGE).with_suffix('').parts
  if parts[-1] == '__init__' and len(parts) > 1:
    parts = parts[:-1]
  return '.'.join(parts)


MODULES = {name_of(file): file for file in FILES}


def imported_names(tree, *, lazily):
  """Full dotted names that a module imports; `lazily` includes functions."""
  nodes = list(tree.body)
  names = []
  while nodes:
    node = nodes.pop()
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, 'relative imports are not used'
      names += [f'{node.module}.{alias.name}' for alias in node.names]
    elif lazily or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      nodes += ast.iter_child_nodes(node)
  return names


def own_modules(names):
  """The modules of the package among `names`, by their names in it."""
  for name in names:
    if name.split('.')[0] != 'rq_jax':
      continue
    parts = name.split('.')[1:]
    while parts and '.'.join(parts) not in MODULES:
      parts.pop()
    yield '.'.join(parts) or '__init__'


@functools.cache
def parse(module):
  """The syntax tree of a module."""
  return ast.parse(MODULES[module].read_text())


def component(module):
  """The name of a module in LAYERS."""
  return module.split('.')[0]


def layer(module):
  """Index of a module's layer, counted from the top."""
  name = component(module)
  found = [i for i, names in enumerate(LAYERS) if name in names]
  assert found, f'{name} has no place in LAYERS: give it one'
  return found[0]


def edges():
  """All imports inside the package: (importing, imported) module."""
  for module in MODULES:
    for target in own_modules(imported_names(parse(module), lazily=True)):
      yield module, target


def test_there_is_something_to_check():
  assert 'models.quantizer' in MODULES
  assert ('models.rqvae', 'models.quantizer') in set(edges())


def test_imports_never_point_up():
  wrong = [
      f'{module} imports {target}'
      for module, target in edges()
      if layer(target) < layer(module)
  ]
  assert not wrong


def test_the_lowest_layer_imports_no_other_component():
  wrong = [
      f'{module} imports {target}'
      for module, target in edges()
      if component(module) in LAYERS[-1]
      and component(target) not in ('typing', component(module))
  ]
  assert not wrong


def test_components_of_one_layer_do_not_import_each_other_in_a_circle():
  pairs = {(component(a), component(b)) for a, b in edges()}
  assert not {(a, b) for a, b in pairs if a < b and (b, a) in pairs}


def imported_at_once(module):
  """Modules of the package that are executed if `module` is imported."""
  done, waiting = set(), [module]
  while waiting:
    module = waiting.pop()
    if module in done:
      continue
    done.add(module)
    parents = module.split('.')[:-1]
    waiting += ['.'.join(parents[: i + 1]) for i in range(len(parents))]
    waiting += own_modules(imported_names(parse(module), lazily=False))
  return done | {'__init__'}


@pytest.mark.parametrize('root', LIGHT)
def test_models_and_steps_and_sampling_import_without_heavy_packages(root):
  wrong = []
  for start in MODULES:
    if start != root and not start.startswith(f'{root}.'):
      continue
    for module in imported_at_once(start):
      names = imported_names(parse(module), lazily=False)
      heavy = HEAVY & {name.split('.')[0] for name in names}
      wrong += [f'{start}: {module} imports {name}' for name in heavy]
  assert not wrong


def test_the_config_rules_need_no_jax():
  for module in (m for m in MODULES if component(m) == 'config'):
    names = imported_names(parse(module), lazily=True)
    roots = {name.split('.')[0] for name in names}
    assert not {'jax', 'jaxlib', 'flax'} & roots


def lengths():
  """Lines of every file and of every function: (what, lines, most allowed)."""
  for module, file in MODULES.items():
    yield module, len(file.read_text().splitlines()), 300
    for node in ast.walk(parse(module)):
      if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield f'{module}.{node.name}', node.end_lineno - node.lineno + 1, 60


def test_files_and_functions_stay_short():
  wrong = [
      f'{name} has {lines} lines'
      for name, lines, most in lengths()
      if lines > most
  ]
  assert not wrong


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
  modules = [m for m in MODULES if not ast.get_docstring(parse(m))]
  assert not modules
  nameless = [
      f'{module}: {node.name}'
      for module in MODULES
      for node in public_definitions(parse(module))
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
      for module in MODULES
      for node in public_definitions(parse(module))
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
      for file in [*FILES, *(ROOT / 'docs').rglob('*.py')]
      for call in calls_of_pillows_open(file)
  ]
  assert PACKAGE / 'data' / 'image_files.py' in dict(found)
  assert not [file for file, names in found if 'formats' not in names]


def test_bars_are_made_in_one_place():
  """There, a bar that fails does not stop the work it shows."""
  made = [
      module
      for module in MODULES
      for node in ast.walk(parse(module))
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
      for module in MODULES
      if any(prints_to_people(node) for node in ast.walk(parse(module)))
  }
  assert found == SPEAKERS


def test_no_file_is_called_utils():
  vague = {'utils', 'util', 'helpers', 'misc', 'common'}
  assert not [name for name in MODULES if name.split('.')[-1] in vague]
