"""Prompts given to a sampler, with and without a tokenizer of texts."""

import shutil

import jax
import numpy as np
import pytest
import tokenizers

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from tests import tiny
from tests.sampling import models

_KEY = jax.random.key(2)
_MODEL = dict(num_classes=0, text_vocab_size=5, text_length=3, null_class=True)
_WORDS = ('[UNK]', 'a', 'cat', 'dog', '[PAD]')
_PROMPTS = ['A cat', 'dog', '']
_IDS = np.array([[1, 2, 4], [3, 4, 4], [4, 4, 4]])


def _save_words(path, words):
  """A text tokenizer that knows some words in lower case."""
  vocab = {word: i for i, word in enumerate(words)}
  model = tokenizers.models.WordLevel(vocab, unk_token='[UNK]')
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.normalizer = tokenizers.normalizers.Lowercase()
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  tokenizer.save(str(path))


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """The folder of a generator that reads texts."""
  path = tmp_path_factory.mktemp('text')
  config = tiny.stage2_config(model=_MODEL)
  made = models.sampler(**_MODEL)
  inference_copy.export(path, config, made.prior_variables)
  inference_copy.export(
      path / 'tokenizer', tiny.stage1_config(), made.tokenizer.variables
  )
  _save_words(path / 'text_tokenizer.json', _WORDS)
  return path


@pytest.fixture(scope='module')
def sampler(workdir):
  return Sampler.restore(workdir, verbose=False)


@pytest.mark.slow
def test_prompts_are_their_tokens(sampler, workdir):
  assert sampler.text_tokenizer == workdir / 'text_tokenizer.json'
  codes = np.asarray(sampler.codes(_KEY, tokens=_IDS))
  np.testing.assert_array_equal(sampler.codes(_KEY, prompts=_PROMPTS), codes)
  np.testing.assert_array_equal(
      sampler(_KEY, prompts=_PROMPTS), sampler.tokenizer.decode(codes)
  )
  *_, last = sampler.stream(_KEY, prompts=_PROMPTS)
  np.testing.assert_array_equal(last, codes)
  np.testing.assert_array_equal(
      sampler.logits(codes, prompts=_PROMPTS),
      sampler.logits(codes, tokens=_IDS),
  )
  np.testing.assert_array_equal(
      sampler.log_prob(codes, prompts=_PROMPTS).nats,
      sampler.log_prob(codes, tokens=_IDS).nats,
  )
  # Words count.
  other = sampler.logits(codes, prompts=['a dog', 'dog', ''])
  differs = np.abs(other - sampler.logits(codes, tokens=_IDS)) > 1e-3
  assert differs[0].any() and not differs[1:].any()


def test_prompts_may_be_exaggerated_and_kept(sampler):
  guided = Sampling(guidance=2.0)
  codes = sampler.codes(_KEY, prompts=_PROMPTS, sampling=guided)
  np.testing.assert_array_equal(
      codes, sampler.codes(_KEY, tokens=_IDS, sampling=guided)
  )
  kept = sampler.complete(_KEY, codes, np.ones((2, 2), bool), prompts=_PROMPTS)
  np.testing.assert_array_equal(kept, codes)


def test_a_prompt_that_is_too_long_is_refused(sampler):
  with pytest.raises(ValueError) as error:
    sampler.codes(_KEY, prompts=['a cat', 'a cat a dog'])
  assert str(error.value) == (
      "prompts[1]='a cat a dog' has 4 tokens, but this model reads at most 3."
      ' Shorten the prompt.'
  )


def test_other_conditions_are_told_that_prompts_are_taken(sampler):
  with pytest.raises(ValueError) as error:
    sampler.codes(_KEY, labels=[1])
  assert str(error.value) == (
      'This model takes tokens or prompts and nothing else, such as'
      ' tokens=int32[B, 3]; got labels.'
  )


def test_without_a_tokenizer_prompts_are_refused(workdir, tmp_path):
  bare = tmp_path / 'bare'
  shutil.copytree(workdir, bare)
  (bare / 'text_tokenizer.json').unlink()
  with pytest.raises(ValueError) as error:
    Sampler.restore(bare, verbose=False).codes(_KEY, prompts=_PROMPTS)
  assert str(error.value) == (
      'This model takes tokens and nothing else, such as tokens=int32[B, 3];'
      ' got prompts, but it has no text tokenizer.'
  )


def test_another_tokenizer_goes_before_that_of_the_folder(workdir, tmp_path):
  _save_words(tmp_path / 'words.json', [*_WORDS[:2], 'dog', 'cat', '[PAD]'])
  sampler = Sampler.restore(
      workdir, text_tokenizer=tmp_path / 'words.json', verbose=False
  )
  swapped = ['a dog', 'cat', '']
  np.testing.assert_array_equal(
      sampler.codes(_KEY, prompts=swapped), sampler.codes(_KEY, tokens=_IDS)
  )
  assert stored.read_config(workdir, stage=2).model.text_length == 3
