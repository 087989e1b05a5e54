"""Prompts become the token ids of a model's training, or are refused."""

import json
import sys

import numpy as np
import pytest
import tokenizers
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import processors

from rq_jax import text

_WORDS = ['[UNK]', 'a', 'cat', 'dog', '[PAD]', '[CLS]', 'eel']


def _tokenizer(words=_WORDS):
  """A tokenizer of some words in lower case, for a test to modify."""
  vocab = {word: i for i, word in enumerate(words)}
  tokenizer = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token='[UNK]'))
  tokenizer.normalizer = normalizers.Lowercase()
  tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
  return tokenizer


def _load(path, tokenizer):
  path = path / 'text_tokenizer.json'
  tokenizer.save(str(path))
  return text.TextTokenizer.load(path)


@pytest.fixture(scope='module')
def loaded(tmp_path_factory):
  return _load(tmp_path_factory.mktemp('text'), _tokenizer())


def _error(function, *args):
  with pytest.raises(ValueError) as error:
    function(*args)
  return str(error.value)


def test_prompts_become_padded_rows_of_ids(loaded):
  ids = loaded.encode(['A CAT', '', 'dog dog a emu'], 5, 7)
  np.testing.assert_array_equal(
      ids, [[1, 2, 4, 4, 4], [4, 4, 4, 4, 4], [3, 3, 1, 0, 4]]
  )
  assert ids.dtype == np.int32


@pytest.mark.parametrize(
    'prompts',
    [('cat', 'dog'), np.array(['cat', 'dog']), [np.str_('cat'), 'dog']],
)
def test_prompts_may_be_any_sequence(loaded, prompts):
  np.testing.assert_array_equal(loaded.encode(prompts, 1, 7), [[2], [3]])


def test_what_a_file_adds_cuts_or_drops_is_switched_off(tmp_path):
  tokenizer = _tokenizer()
  tokenizer.post_processor = processors.TemplateProcessing(
      single='[CLS] $A [CLS]', special_tokens=[('[CLS]', 5)]
  )
  tokenizer.enable_padding(
      pad_id=3, pad_token='dog', direction='left', length=9
  )
  tokenizer.enable_truncation(3)
  assert tokenizer.encode('a cat').ids == [3] * 6 + [5, 1, 5]
  loaded = _load(tmp_path, tokenizer)
  np.testing.assert_array_equal(
      loaded.encode(['a a cat a'], 5, 7), [[1, 1, 2, 1, 3]]
  )
  merged = models.BPE({'a': 0, 'b': 1, 'ab': 2}, [('a', 'b')], dropout=1.0)
  tokenizer = tokenizers.Tokenizer(merged)
  tokenizer.enable_padding(pad_id=0)
  assert tokenizer.encode('ab').ids == [0, 1]
  np.testing.assert_array_equal(
      _load(tmp_path, tokenizer).encode(['ab'], 2, 3), [[2, 0]]
  )


def test_a_token_for_padding_is_known_by_its_name(tmp_path):
  both = ['<pad>', '[UNK]', '[PAD]']
  for words, pad_id in ((both, 2), (both[:2], 0)):
    assert _load(tmp_path, _tokenizer(words)).pad_id == pad_id
  message = _error(_load, tmp_path, _tokenizer(['[UNK]', 'a']))
  assert message == (
      f'{tmp_path / "text_tokenizer.json"} does not define a padding token: it'
      " has no section 'padding' and neither a token [PAD] nor <pad>. Call"
      ' `enable_padding` of its tokenizer with the pad_id of the model, and'
      ' save it again.'
  )


@pytest.mark.parametrize(('pad_id', 'name'), [(3, 'dog'), (8, '[PAD]')])
def test_what_was_saved_loads_as_it_was(tmp_path, pad_id, name):
  tokenizer = _tokenizer([*_WORDS, 'é'])  # 8 words: a model may know more.
  tokenizer.enable_padding(pad_id=pad_id, pad_token='other')
  loaded = _load(tmp_path, tokenizer)
  file = tmp_path / 'copy' / 'text_tokenizer.json'
  file.parent.mkdir()
  loaded.save(file)
  loaded.save(str(file))  # Replaces it.
  assert list(file.parent.iterdir()) == [file]
  assert json.loads(file.read_bytes())['padding']['pad_token'] == name
  again = text.TextTokenizer.load(str(file))
  assert loaded.tokenizer.padding is None  # A copy was saved.
  for one in (loaded, again):
    np.testing.assert_array_equal(
        one.encode(['a É emu', 'a'], 4, 9),
        [[1, 7, 0, pad_id], [1, pad_id, pad_id, pad_id]],
    )


@pytest.mark.parametrize(
    ('prompts', 'got'),
    [
        ('a cat', "'a cat'"),
        (np.array('a cat'), "'a cat'"),
        (b'cat', 'prompts[0]=99'),
        (['a', None], 'prompts[1]=None'),
        ([['a', 'cat']], "prompts[0]=['a', 'cat']"),
        ([list(range(99))], f'prompts[0]={str(list(range(99)))[:80]}...'),
        (7, '7'),
        ({'a'}, "{'a'}"),
        ([], 'an empty list'),
        (np.array([], str), 'an empty list'),
    ],
)
def test_what_is_no_list_of_texts_is_refused(loaded, prompts, got):
  assert _error(loaded.encode, prompts, 5, 7) == (
      "prompts must be a list of texts, such as prompts=['a cat'], but got"
      f' {got}.'
  )


def test_a_prompt_beyond_the_context_is_refused(loaded):
  assert loaded.encode(['a a a'], 3, 7).shape == (1, 3)
  assert _error(loaded.encode, ['a', 'a a cat a'], 3, 7) == (
      "prompts[1]='a a cat a' has 4 tokens, but this model reads at most 3."
      ' Shorten the prompt.'
  )
  assert _error(loaded.encode, [50 * 'cat '], 3, 7) == (
      f"prompts[0]='{10 * 'cat '}'... has 50 tokens, but this model reads at"
      ' most 3. Shorten the prompt.'
  )


@pytest.mark.parametrize(
    ('prompt', 'size', 'largest'), [('a', 4, 4), ('cat eel', 6, 6)]
)
def test_ids_that_the_model_does_not_know_are_refused(
    loaded, prompt, size, largest
):
  # The first case fails because of the padding token.
  assert loaded.encode([prompt], 2, largest + 1).max() == largest
  assert _error(loaded.encode, [prompt], 2, size) == (
      f'The text tokenizer has 7 tokens and uses the id {largest}, but this'
      f' model knows {size} tokens: they do not belong together. Give the text'
      ' tokenizer that the model was trained with.'
  )


def test_a_text_that_has_no_ids_is_refused(tmp_path):
  loaded = _load(tmp_path, _tokenizer(['a', '[PAD]']))
  message = _error(loaded.encode, ['a', 'a cat'], 5, 2)
  assert message.startswith("prompts[1]='a cat' cannot be turned into tokens: ")
  assert message.endswith('Reword the prompt, or give another text tokenizer.')


def test_files_that_hold_no_text_tokenizer_are_refused(tmp_path):
  file = tmp_path / 'text_tokenizer.json'
  for path in (file, tmp_path):
    assert _error(text.TextTokenizer.load, path) == (
        f'{path} is not a file, but should be a text tokenizer in the format'
        ' of the tokenizers library. Check the path.'
    )
  for content in (b'{}', b'\xff', b''):
    file.write_bytes(content)
    message = _error(text.TextTokenizer.load, file)
    assert message.startswith(
        f'{file} is not a file of the tokenizers library: '
    )
    assert message.endswith('Write it with the method `save` of a tokenizer.')


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
  file = tmp_path / 'text_tokenizer.json'
  file.write_text('{}')
  monkeypatch.setitem(sys.modules, 'tokenizers', None)
  for call in (
      lambda: text.TextTokenizer.load(file),
      lambda: text.char_bpe(file, tmp_path / 'merges.txt'),
  ):
    with pytest.raises(ImportError) as error:
      call()
    assert str(error.value) == (
        f'The text tokenizer {file} needs the package tokenizers. Install it'
        " with `pip install 'rq_jax[text]'`."
    )
