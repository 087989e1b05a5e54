"""Prompts become the token ids of a model's training, or are refused."""

import json
import pathlib
import sys

import numpy as np
import pytest
import tokenizers
from tokenizers import implementations
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import processors

from rq_jax import text

_RECORDED = pathlib.Path(__file__).parents[1] / 'fixtures' / 'tokenizers'
_WORDS = ['[UNK]', 'a', 'cat', 'dog', '[PAD]', '[CLS]', 'eel']
# The words of the recorded texts. The recording has the number of tokens of
# each word, but not where the word is split: `|` is a guess, which does not
# affect the results.
_RECORDED_WORDS = (
    'a painting of " the pers|ist|ence of memory "',
    'eiffel tower on a desert .',
    'a painting by ren|é mag|rit|te',
    'author : a life in photography - - in pictures',
    "it ' s 42 degrees & ra|ining in z|ü|rich !",
    'cat',
    '',
    '日 本 語 テ|キ|ス|ト with em|oji',  # And one that is unknown.
    '|'.join('x' * 60),
    5 * 'the - bedroom stone cottage can sleep people , ',
)


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


def _recording():
  """The recorded texts, and their ids by the official tokenizer of CC3M."""
  recorded = json.loads((_RECORDED / 'tokens.json').read_text('utf-8'))
  (case,) = (
      case
      for case in recorded['cases']
      if case['name'] == 'bpe16k_huggingface' and case['context_length'] == 64
  )
  return recorded['texts'], np.array(case['ids'])


def _merged(names, vocab, merges):
  """Extends the merges so that they split a word into the given tokens."""
  word = ''.join(names).removesuffix('</w>')
  merges = list(merges)
  while True:
    bpe = models.BPE(vocab, merges, end_of_word_suffix='</w>')
    made = [token.value for token in bpe.tokenize(word)]
    if made == names:
      return merges
    i = [a == b for a, b in zip(made, names)].index(False)
    merges.append((made[i], made[i + 1]))
    vocab.setdefault(''.join(merges[-1]), 20000 + len(vocab))


@pytest.fixture(scope='module')
def official(tmp_path_factory):
  """Files like those of the official tokenizer, for only the recorded words."""
  vocab, merges, words = {'[PAD]': 0, '[UNK]': 1}, [], []
  for row_words, row in zip(_RECORDED_WORDS, _recording()[1]):
    row = iter(row)
    for word in row_words.split():
      words.append(f'{word}</w>'.split('|'))
      vocab.update({name: int(next(row)) for name in words[-1]})
  letters = {letter for word in words for name in word for letter in name}
  for letter in sorted(letters):
    for name in (letter, f'{letter}</w>'):
      vocab.setdefault(name, 20000 + len(vocab))
  for word in words:
    merges = _merged(word, vocab, merges)
  folder = tmp_path_factory.mktemp('official')
  files = folder / 'vocab.json', folder / 'merges.txt'
  files[0].write_text(json.dumps(vocab))
  lines = ['#version: 0.2', *(' '.join(pair) for pair in merges)]
  files[1].write_text('\n'.join(lines) + '\n', 'utf-8')
  return files


def test_official_files_give_the_recorded_ids(official, tmp_path):
  texts, ids = _recording()
  tokenizer = text.char_bpe(*official)
  np.testing.assert_array_equal(tokenizer.encode(texts, 64, 16384), ids)
  tokenizer.save(tmp_path / 'text_tokenizer.json')
  loaded = text.TextTokenizer.load(tmp_path / 'text_tokenizer.json')
  np.testing.assert_array_equal(loaded.encode(texts, 64, 16384), ids)
  # The official code truncates long texts; here, they are refused.
  message = _error(loaded.encode, texts, 45, 16384)
  assert message == (
      f"prompts[8]='{40 * 'x'}'... has 60 tokens, but this model reads at most"
      ' 45. Shorten the prompt.'
  )


def test_official_files_are_read_as_the_library_does(official):
  ours = text.char_bpe(*map(str, official)).tokenizer
  reference = implementations.CharBPETokenizer.from_file(
      *map(str, official), unk_token='[UNK]', lowercase=True
  )
  reference.add_special_tokens(['[PAD]'])
  assert json.loads(ours.to_str()) == json.loads(reference.to_str())
  for prompt in (*_recording()[0], 'A [PAD] [UNK] cat', 'ÉÜ\tin\u0007the\n. '):
    assert ours.encode(prompt).ids == reference.encode(prompt).ids


def test_official_files_that_are_something_else_are_refused(official, tmp_path):
  vocab, merges = official
  missing = tmp_path / 'vocab.json'
  for files in ((missing, merges), (vocab, missing), (merges, vocab)):
    message = _error(text.char_bpe, *files)
    assert message.startswith(
        f'{files[0]} and {files[1]} are not the vocabulary and the merges of a'
        ' byte-pair encoding: '
    )
    assert message.endswith('Check the paths.')
  none = tmp_path / 'merges.txt'
  none.write_text('')
  for tokens, lack in (
      ({'a': 0}, '[UNK] and no [PAD]'),
      ({'[UNK]': 0}, '[PAD]'),
  ):
    missing.write_text(json.dumps(tokens))
    assert _error(text.char_bpe, missing, none) == (
        f'{missing} has no token {lack}, so it is not a vocabulary of the'
        ' official code. Check the path.'
    )
