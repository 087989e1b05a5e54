"""The public names, as an editor, a notebook and a newcomer meet them."""

import inspect
import json
import pathlib
import pydoc
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import rq_jax
from tests.sampling import models

_KEY = jax.random.key(0)
_CALLS = pathlib.Path(__file__).parent / 'api_calls.py'
_DRAWING = (
    '__call__',
    'codes',
    'complete',
    'edit',
    'stream',
    'best_of',
    'rejection_sample',
)
_CONDITION = ['labels', 'tokens', 'prompts', 'num_images']


def _score(images):
  return np.zeros(len(images))


def _arguments(name, images, codes):
  """Arguments of a drawing method after its key and before its condition."""
  redraw = np.ones((16, 16), bool)
  return {
      'complete': (codes, np.zeros((2, 2), bool)),
      'edit': (images, redraw),
      'best_of': (2, _score),
      'rejection_sample': (0.5, _score),
  }.get(name, ())


@pytest.fixture(scope='module')
def images():
  return np.zeros((2, 16, 16, 3), np.uint8)


@pytest.fixture(scope='module')
def codes():
  return np.zeros((2, 2, 2, 2), np.int32)


def test_every_public_name_is_there():
  assert rq_jax.__all__ == [
      'RQTransformer',
      'RQVAE',
      'Sampler',
      'Sampling',
      'Tokenizer',
      'grid',
  ]
  for name in rq_jax.__all__:
    assert getattr(rq_jax, name).__name__ == name
    assert name in dir(rq_jax)
  with pytest.raises(AttributeError, match="has no attribute 'Tokeniser'"):
    _ = rq_jax.Tokeniser


def test_type_checkers_see_the_names_that_are_loaded():
  """The imports for type checkers and the places of the lazy ones agree."""
  source = pathlib.Path(rq_jax.__file__).read_text()
  imported = re.findall(r'^  from (\S+) import (\w+)$', source, re.MULTILINE)
  assert {name: home for home, name in imported} == rq_jax._HOMES
  assert sorted(rq_jax._HOMES) == rq_jax.__all__
  assert (pathlib.Path(rq_jax.__file__).parent / 'py.typed').exists()


@pytest.mark.parametrize('name', _DRAWING)
def test_help_shows_the_arguments_of_a_call(name):
  parameters = inspect.signature(getattr(rq_jax.Sampler, name)).parameters
  expected = [*_CONDITION, 'sampling', 'first_index', 'indices']
  keywords = [p for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
  assert [p.name for p in keywords] == expected
  assert [p.default for p in keywords] == [None] * 5 + [0, None]
  assert 'asked' not in parameters and 'key' in parameters
  page = pydoc.plain(pydoc.render_doc(rq_jax.Sampler))
  assert f'{name}(self, key' in page and 'Unpack' not in page


@pytest.mark.parametrize('name', ['logits', 'log_prob'])
def test_help_shows_the_arguments_of_a_forward_pass(name):
  parameters = inspect.signature(getattr(rq_jax.Sampler, name)).parameters
  assert list(parameters) == ['self', 'codes', *_CONDITION]


@pytest.mark.parametrize('name', _DRAWING)
def test_a_misspelt_argument_is_named_with_the_nearest(name, images, codes):
  method = getattr(models.sampler(), name)
  arguments = _arguments(name, images, codes)
  with pytest.raises(TypeError) as error:
    method(_KEY, *arguments, label=[1, 2])
  assert str(error.value) == (
      'label= is not an argument here; these are: labels, tokens, prompts,'
      ' num_images, sampling, first_index, indices. Did you mean labels=?'
  )


def test_an_argument_of_another_method_is_named(codes):
  for name in ('logits', 'log_prob'):
    with pytest.raises(TypeError) as error:
      getattr(models.sampler(), name)(codes, labels=[1, 2], first_index=1)
    assert str(error.value) == (
        'first_index= is not an argument here; these are: labels, tokens,'
        ' prompts, num_images.'
    )


@pytest.mark.parametrize('name', _DRAWING)
@pytest.mark.parametrize(
    ('key', 'got'),
    [
        (0, 'int'),
        (None, 'NoneType'),
        (jax.random.split(_KEY, 3), 'key<fry> of shape [3]'),
        (np.uint32(7), 'uint32'),
        (
            jax.random.split(jax.random.PRNGKey(0), 3),
            'uint32 of shape [3, 2]',
        ),
        (jax.numpy.float32(1), 'float32 of shape []'),
    ],
    ids=str,
)
def test_what_is_no_key_is_refused(name, key, got, images, codes):
  method = getattr(models.sampler(), name)
  with pytest.raises(ValueError) as error:
    method(key, *_arguments(name, images, codes), labels=[1, 2])
  assert str(error.value) == (
      f'key must be one random key, such as jax.random.key(0); got {got}.'
  )


def test_a_key_of_the_older_kind_draws_the_same():
  sampler = models.sampler()
  new = sampler.codes(_KEY, labels=[1, 2])
  old = sampler.codes(jax.random.PRNGKey(0), labels=[1, 2])
  np.testing.assert_array_equal(new, old)


def test_one_image_without_a_batch_is_refused_where_images_are_edited(images):
  with pytest.raises(ValueError, match=r'Add a batch dimension: images\[None'):
    models.sampler().edit(
        _KEY, images[0], np.ones((16, 16), bool), labels=[1, 2]
    )


def test_a_model_is_one_line():
  sampler = models.sampler()
  size = '32,463 parameters in float32'
  tokenizer = f'Tokenizer(images 16x16, codes 2x2x2, {size})'
  assert repr(sampler.tokenizer) == tokenizer
  count = sum(x.size for x in jax.tree.leaves(sampler.prior_variables))
  assert repr(sampler) == (
      f'Sampler(labels 0 to 9, {count:,} parameters in float32, {tokenizer})'
  )
  unconditional = models.sampler(num_classes=0, null_class=False)
  assert repr(unconditional).startswith('Sampler(unconditional, ')
  text = models.sampler(
      num_classes=0, text_vocab_size=5, text_length=3, null_class=True
  )
  assert repr(text).startswith('Sampler(3 tokens, ')


def test_a_selection_is_one_line():
  found = models.sampler().best_of(
      _KEY, 1, lambda images: np.arange(len(images)) / 4, labels=[1, 2, 3]
  )
  assert repr(found) == 'Selection(3 images, scores 0 to 0.5)'


def _diagnostics(file):
  """Lines at which pyright reports an error, and the names of its rules."""
  done = subprocess.run(
      [sys.executable, '-m', 'pyright', '--outputjson', file],
      capture_output=True,
      text=True,
      cwd=_CALLS.parents[1],
  )
  assert done.returncode == 1, done.stderr
  found = json.loads(done.stdout)['generalDiagnostics']
  return {
      (d['range']['start']['line'] + 1, d['rule'])
      for d in found
      if d['severity'] == 'error'
  }


@pytest.mark.process
def test_a_type_checker_accepts_right_calls_and_names_wrong_ones():
  """Each wrong call of the file names its error in a comment."""
  expected = {
      (number, rule)
      for number, line in enumerate(_CALLS.read_text().splitlines(), 1)
      for rule in re.findall(r'# wrong: (\w+)', line)
  }
  assert len(expected) >= 10
  assert _diagnostics(_CALLS) == expected
