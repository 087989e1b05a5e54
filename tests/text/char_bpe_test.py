"""Vocabulary and merges of the official code give the recorded ids."""

import json
import pathlib

import numpy as np
import pytest
from tokenizers import implementations
from tokenizers import models

from rq_jax import text

_RECORDED = pathlib.Path(__file__).parents[1] / 'fixtures' / 'tokenizers'

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


def _error(function, *args):
  with pytest.raises(ValueError) as error:
    function(*args)
  return str(error.value)


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
