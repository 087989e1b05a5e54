"""Texts become the tokens of OpenAI's CLIP."""

import json

import numpy as np
import pytest

from rq_jax.text import clip_tokenizer
from tests import clip_inputs
from tests import clip_recorded

START, END = 49406, 49407
# Repaired only by OpenAI's code.
BROKEN = clip_inputs.SENTENCES.index('a cafÃ© in Paris')


@pytest.fixture(scope='module')
def loaded():
  return clip_tokenizer.ClipTokenizer.load(
      clip_recorded.FOLDER / 'tokenizer.json'
  )


def recorded(library):
  return clip_recorded.meta()['tokens'][library]


def test_tokens_are_those_of_openai(loaded):
  tokens, _ = loaded.encode(clip_inputs.SENTENCES, 77)
  assert tokens.dtype == np.int32
  for i, (row, expected) in enumerate(zip(tokens, recorded('openai'))):
    if i != BROKEN:
      padding = [END] * (77 - len(expected))
      assert row.tolist() == expected + padding, clip_inputs.SENTENCES[i]


def test_texts_that_were_decoded_wrongly_stay_as_they_are(loaded):
  tokens, _ = loaded.encode([clip_inputs.SENTENCES[BROKEN]], 77)
  expected = recorded('huggingface')[BROKEN]
  assert tokens[0, : len(expected)].tolist() == expected
  assert recorded('openai')[BROKEN] != expected


def test_only_texts_that_are_too_long_are_cut(loaded):
  sentence = 'a photo of a cat'
  whole, cut = loaded.encode([sentence, ''], 7)
  assert whole[0, 0] == START and whole[0, 6] == END
  assert cut.tolist() == [False, False]
  shorter, cut = loaded.encode([sentence, ''], 6)
  np.testing.assert_array_equal(shorter[0, :5], whole[0, :5])
  assert shorter[0, 5] == END
  assert cut.tolist() == [True, False]


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path):
  raw = json.loads((clip_recorded.FOLDER / 'tokenizer.json').read_text())
  raw['added_tokens'] = []
  raw['model']['unk_token'] = None
  raw['post_processor'] = None
  del raw['model']['vocab']['<|endoftext|>']
  raw['padding'] = {
      'strategy': 'BatchLongest',
      'direction': 'Right',
      'pad_to_multiple_of': None,
      'pad_id': 0,
      'pad_type_id': 0,
      'pad_token': '!',
  }
  path = tmp_path / 'tokenizer.json'
  path.write_text(json.dumps(raw))
  with pytest.raises(ValueError, match='not a tokenizer of CLIP'):
    clip_tokenizer.ClipTokenizer.load(path)


def test_one_text_in_place_of_a_list_is_refused(loaded):
  with pytest.raises(ValueError, match='prompts must be a list of texts'):
    loaded.encode('a cat', 77)
