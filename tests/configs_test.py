"""Every configuration file builds, and the commands it shows parse."""

import pathlib
import re
import shlex

import jax
import pytest

from rq_jax import __main__ as main_lib
from rq_jax import config as config_lib
from rq_jax import sampling
from rq_jax import tokenizer
from rq_jax.sampling import sampler

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / 'configs').rglob('*.py'))
# What only the user of an experiment knows.
PATHS = {'tokenizer': 'TOKENIZER', 'data.path': 'FEATURES'}


def load(file):
  raw = config_lib.load(str(file), overrides=PATHS) if is_stage2(file) else None
  return raw or config_lib.load(str(file))


def is_stage2(file):
  return 'stage=2' in file.read_text()


def commands(text):
  """Shell commands `python -m rq_jax ...` shown in a text, as words."""
  joined = re.sub(r'\\\n\s*', ' ', text)
  found = re.findall(r'^ *(?:python -m )?rq_jax (\w+\s+--.*)$', joined, re.M)
  return [shlex.split(line.split('  #')[0]) for line in found]


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.parent.name + f.stem)
def test_model_builds(file):
  config = load(file)
  if config.stage == 1:
    shapes = tokenizer.abstract_variables(tokenizer.build_model(config))
  else:
    shapes = sampler.abstract_variables(sampling.build_prior(config))
  assert jax.tree.leaves(shapes['params'])


def test_digits_prior_models_the_codes_of_the_digits_tokenizer():
  stage1 = load(ROOT / 'configs' / 'digits' / 'rqvae.py')
  stage2 = load(ROOT / 'configs' / 'digits' / 'rqtransformer.py')
  restored = tokenizer.Tokenizer(
      model=tokenizer.build_model(stage1), variables={}, config=stage1
  )
  sampling.check_pair(stage2, restored)


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.parent.name + f.stem)
def test_docstring_shows_how_to_train_it(file):
  config = str(file.relative_to(ROOT))
  shown = commands(file.read_text())
  assert any(f'--config={config}' in words for words in shown)
  check_train_commands(shown)


def test_commands_of_the_readme_parse():
  shown = commands((ROOT / 'README.md').read_text())
  assert {words[0] for words in shown} == {'train', 'encode', 'sample'}
  check_train_commands(shown)


def check_train_commands(shown):
  for words in shown:
    if words[0] == 'train':
      assert main_lib.main([*words, '--dry_run']) == 0


def test_python_of_the_readme_compiles():
  blocks = re.findall(
      r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.S
  )
  assert len(blocks) == 2
  for block in blocks:
    compile(block, 'README.md', 'exec')
