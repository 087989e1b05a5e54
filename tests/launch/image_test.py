"""The image of rq_jax: pinned, small, without root, and quick to rebuild.

These are the rules of hadolint that matter here, and some of our own.
"""

import fnmatch
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / 'launch' / 'gke' / 'Dockerfile'


def instructions():
  """Instructions of the Dockerfile in order: (name, arguments)."""
  text = DOCKERFILE.read_text().replace('\\\n', ' ')
  lines = [re.sub(' +', ' ', li) for li in text.splitlines()]
  return [li.split(' ', 1) for li in lines if li and not li.startswith('#')]


def all_of(name):
  return [words for other, words in instructions() if other == name]


def test_the_base_image_is_an_exact_version():
  assert [name for name, _ in instructions()][0] == 'FROM'
  (base,) = all_of('FROM')
  assert re.fullmatch(r'python:3\.\d+\.\d+-slim-\w+', base)
  # It is one for which constraints.txt has tested versions.
  minor = re.search(r'3\.\d+', base)[0]
  assert (
      f'python_version == "{minor}"' in (ROOT / 'constraints.txt').read_text()
  )


def test_only_known_instructions_are_used():
  known = {'FROM', 'ARG', 'ENV', 'WORKDIR', 'COPY', 'RUN', 'USER', 'ENTRYPOINT'}
  assert {name for name, _ in instructions()} <= known


def test_packages_are_pinned_and_leave_no_cache():
  (install,) = [words for words in all_of('RUN') if 'pip' in words]
  assert install.startswith('pip install --no-cache-dir -c constraints.txt ')
  # Nothing from Debian; it would have to clean up its lists.
  assert not [words for words in all_of('RUN') if 'apt' in words]


def test_an_image_without_an_accelerator_is_refused():
  assert all_of('ARG') == ['ACCELERATOR']
  (install,) = [words for words in all_of('RUN') if 'pip' in words]
  assert '${ACCELERATOR:?must be tpu or cuda13}' in install


def test_every_extra_of_the_image_exists():
  setup = (ROOT / 'setup.py').read_text()
  (install,) = [words for words in all_of('RUN') if 'pip' in words]
  extras = re.search(r'\.\[\$\{.*?\},(.*)\]', install)[1].split(',')
  for extra in [*extras, 'tpu', 'cuda13']:
    assert f"        '{extra}': [" in setup


def test_changed_code_does_not_install_packages_again():
  order = [' '.join(line) for line in instructions()]
  (install,) = [i for i, line in enumerate(order) if 'pip install' in line]
  copies = [i for i, line in enumerate(order) if line.startswith('COPY')]
  before = [order[i] for i in copies if i < install]
  assert before == [
      'COPY LICENSE NOTICE constraints.txt pyproject.toml setup.py ./'
  ]
  after = [order[i] for i in copies if i > install]
  assert after == ['COPY configs configs', 'COPY rq_jax rq_jax']


def test_the_program_runs_without_root_and_gets_signals_itself():
  names = [name for name, _ in instructions()]
  assert names[-2:] == ['USER', 'ENTRYPOINT']
  (user,) = all_of('USER')
  assert int(user) > 0  # A number: Kubernetes can check that it is not root.
  # A list, not a line: no shell stands between the program and its signals.
  assert json.loads(all_of('ENTRYPOINT')[0]) == ['python', '-m', 'rq_jax']


def test_only_what_is_copied_is_sent_to_docker():
  lines = (ROOT / '.dockerignore').read_text().splitlines()
  rules = [line for line in lines if line and not line.startswith('#')]
  assert rules[0] == '*'
  allowed = {rule[1:] for rule in rules if rule.startswith('!')}
  copied = {name for words in all_of('COPY') for name in words.split(' ')[:-1]}
  assert allowed == copied
  assert all((ROOT / name).exists() for name in allowed)
  assert fnmatch.fnmatch('rq_jax/models/__pycache__', rules[-1])
