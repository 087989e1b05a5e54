"""Which modules import which: imports point down, and slow ones come late."""

import ast

import pytest

from tests import package

# From top to bottom. A module imports from its own layer or from below.
LAYERS = (
    {'__init__', '__main__'},
    {'cli'},
    {'jobs'},
    {'training'},
    {'evaluation', 'sampling'},
    {'tokenizer'},
    {'checkpoints', 'compilation', 'compiler_options', 'conversion'},
    {'data', 'distributed', 'hashes', 'models', 'reports', 'text'},
    {'config'},
    {'files', 'huge_pages', 'typing'},
)


# These must work where only jax, flax, optax and orbax are installed.
LIGHT = (
    'checkpoints',
    'compiler_options',
    'models',
    'sampling',
    'tokenizer',
    'training.stage1',
    'training.stage2',
)


HEAVY = {
    'array_record',
    'cv2',
    'grain',
    'lmdb',
    'ml_collections',
    'sklearn',
    'tensorflow_datasets',
    'tokenizers',
    'webdataset',
}


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
    while parts and '.'.join(parts) not in package.MODULES:
      parts.pop()
    yield '.'.join(parts) or '__init__'


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
  for module in package.MODULES:
    for target in own_modules(
        imported_names(package.parse(module), lazily=True)
    ):
      yield module, target


def test_there_is_something_to_check():
  assert 'models.quantizer' in package.MODULES
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


def test_jobs_do_not_import_each_other_in_a_circle():
  def job(module):
    return module.split('.')[1] if module.startswith('jobs.') else None

  pairs = {(job(a), job(b)) for a, b in edges()}
  assert ('benchmark', 'compile') in pairs
  assert not {(a, b) for a, b in pairs if a and b and a < b and (b, a) in pairs}


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
    waiting += own_modules(imported_names(package.parse(module), lazily=False))
  return done | {'__init__'}


@pytest.mark.parametrize('root', LIGHT)
def test_models_and_steps_and_sampling_import_without_heavy_packages(root):
  wrong = []
  for start in package.MODULES:
    if start != root and not start.startswith(f'{root}.'):
      continue
    for module in imported_at_once(start):
      names = imported_names(package.parse(module), lazily=False)
      heavy = HEAVY & {name.split('.')[0] for name in names}
      wrong += [f'{start}: {module} imports {name}' for name in heavy]
  assert not wrong


def test_the_config_rules_need_no_jax():
  for module in (m for m in package.MODULES if component(m) == 'config'):
    names = imported_names(package.parse(module), lazily=True)
    roots = {name.split('.')[0] for name in names}
    assert not {'jax', 'jaxlib', 'flax'} & roots
