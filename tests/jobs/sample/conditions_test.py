"""Conditions are used in turn and padded; wrong ones are refused."""

import hashlib

import numpy as np
import pytest

from rq_jax.checkpoints import class_names
from rq_jax.jobs.sample import conditions
from rq_jax.models import rqtransformer

NAMES = ['ant', 'bee', 'tench, Tinca', '0']
CLASSES = rqtransformer.RQTransformer(num_classes=3)
TEXTS = rqtransformer.RQTransformer(text_vocab_size=9, text_length=2)
NOTHING = rqtransformer.RQTransformer()
TOKENS = np.array([[1, 2], [3, 4]])


def choose(prior, kind=None, values=None, num_images=None):
  return conditions.choose(
      prior, kind=kind, values=values, num_images=num_images
  )


def test_all_classes_are_taken_in_turn():
  labels = choose(CLASSES, num_images=5).labels
  assert labels.dtype == np.int32
  np.testing.assert_array_equal(labels, [0, 1, 2, 0, 1])


def test_given_labels_are_taken_in_turn_and_the_last_chunk_is_padded():
  conditions = choose(CLASSES, 'labels', [2, 0], 5)
  np.testing.assert_array_equal(conditions.labels, [2, 0, 2, 0, 2])
  rows = conditions.rows(3, 4)
  assert list(rows) == ['labels']
  np.testing.assert_array_equal(rows['labels'], [0, 2, 2, 2])


def test_texts_are_taken_in_turn():
  prompts = choose(TEXTS, 'prompts', ['a', 'b'], 3)
  assert prompts.rows(1, 3) == {'prompts': ['b', 'a', 'a']}
  assert prompts.labels is None
  tokens = choose(TEXTS, 'tokens', TOKENS, 3)
  np.testing.assert_array_equal(tokens.rows(1, 3)['tokens'], TOKENS[[1, 0, 0]])


def test_a_model_without_conditions_is_asked_for_a_number():
  assert choose(NOTHING).rows(8, 4) == {'num_images': 4}
  assert choose(NOTHING).labels is None


def test_there_are_sixteen_images_or_one_for_each_text():
  assert choose(NOTHING).num_images == 16
  assert choose(CLASSES, 'labels', [1]).num_images == 16
  assert choose(TEXTS, 'prompts', ['a', 'b', 'c']).num_images == 3
  assert choose(TEXTS, 'tokens', TOKENS).num_images == 2


def test_labels_are_read_by_number_or_name(tmp_path, capsys):
  class_names.write(tmp_path, NAMES)
  read = conditions.read_labels(['bee', '2', 'ant', '-1'], str(tmp_path))
  assert read == [1, 2, 0, -1]
  assert not capsys.readouterr().out
  with pytest.raises(ValueError, match="--labels='tench' .* number 2"):
    conditions.read_labels(['tench', 'Tinca'], str(tmp_path))
  assert conditions.read_labels(['1'], str(tmp_path / 'none')) == [1]


def test_a_number_is_a_label_even_if_a_class_has_that_name(tmp_path, capsys):
  class_names.write(tmp_path, NAMES)
  assert conditions.read_labels(['0'], str(tmp_path)) == [0]
  assert capsys.readouterr().out == (
      'Note: --labels=0 is the class with the number 0, not the class with this'
      ' name, whose number is 3.\n'
  )


def test_what_is_written_of_them_tells_them_apart():
  assert choose(NOTHING).described() == {'kind': None}
  labels = choose(CLASSES).described()
  assert labels == {'kind': 'labels', 'in_turn': '0,1,2'}
  prompts = choose(TEXTS, 'prompts', ['a', 'ü']).described()
  assert prompts == {
      'kind': 'prompts',
      'in_turn': 2,
      'sha256': hashlib.sha256('a\nü'.encode()).hexdigest(),
  }
  tokens = choose(TEXTS, 'tokens', TOKENS.astype(np.uint8)).described()
  digest = hashlib.sha256(np.array([1, 2, 3, 4], '<i8').tobytes()).hexdigest()
  assert tokens == {'kind': 'tokens', 'in_turn': 2, 'sha256': digest}


@pytest.mark.parametrize(
    ('prior', 'kind', 'words'),
    [
        (
            CLASSES,
            'prompts',
            '--prompts has no meaning here: .* classes. Give --labels',
        ),
        (
            CLASSES,
            'tokens',
            '--tokens has no meaning here: .* classes. Give --labels',
        ),
        (
            TEXTS,
            'labels',
            '--labels has no .*texts. Give --prompts or --tokens',
        ),
        (
            TEXTS,
            None,
            'This model draws from texts. Give --prompts or --tokens',
        ),
        (
            NOTHING,
            'labels',
            '--labels has no meaning here: .*unconditional. Leave',
        ),
        (
            NOTHING,
            'prompts',
            '--prompts has no meaning here: .*unconditional. Leave',
        ),
    ],
)
def test_the_wrong_condition_is_told_what_the_model_takes(prior, kind, words):
  with pytest.raises(ValueError, match=words):
    choose(prior, kind, [1] if kind else None)


def test_no_labels_at_all_are_refused():
  with pytest.raises(ValueError, match='--labels is empty'):
    choose(CLASSES, 'labels', [])


@pytest.mark.parametrize(
    'text', ['a cat\nein Hündchen', 'a cat\r\nein Hündchen\r\n']
)
def test_prompts_are_the_lines_of_a_file(text, tmp_path):
  file = tmp_path / 'prompts.txt'
  file.write_bytes(text.encode())
  assert conditions.read_prompts(str(file)) == ['a cat', 'ein Hündchen']


@pytest.mark.parametrize(
    ('contents', 'words'),
    [
        (b'', 'line 1 is blank'),
        (b'a\n\nb\n', 'line 2 is blank'),
        (b'a\n\n', 'line 2 is blank'),
        (b'\xff\xfe', 'is not text in UTF-8'),
    ],
)
def test_a_file_of_prompts_that_is_not_one(contents, words, tmp_path):
  file = tmp_path / 'prompts.txt'
  file.write_bytes(contents)
  with pytest.raises(ValueError, match=f'--prompts=.*{words}'):
    conditions.read_prompts(str(file))


def test_tokens_are_read_as_they_are(tmp_path):
  np.save(tmp_path / 'tokens.npy', TOKENS)
  read = conditions.read_tokens(str(tmp_path / 'tokens.npy'))
  np.testing.assert_array_equal(read, TOKENS)


@pytest.mark.parametrize(
    ('array', 'found'),
    [
        (np.zeros((2, 2)), r'float64\[2, 2\]'),
        (np.zeros(2, int), r'int64\[2\]'),
        (np.array([['a']], object), 'something else'),
        (None, 'something else'),
    ],
)
def test_a_file_of_tokens_that_is_not_one(array, found, tmp_path):
  file = tmp_path / 'tokens.npy'
  file.write_text('no array')
  if array is not None:
    np.save(file, array)
  with pytest.raises(ValueError, match=f'--tokens=.*it holds {found}'):
    conditions.read_tokens(str(file))


def test_archives_of_tokens_are_refused(tmp_path):
  np.savez(tmp_path / 'tokens.npz', TOKENS)
  with pytest.raises(ValueError, match='it holds something else'):
    conditions.read_tokens(str(tmp_path / 'tokens.npz'))


@pytest.mark.parametrize('kind', ['prompts', 'tokens'])
def test_missing_files_are_named(kind, tmp_path):
  read = getattr(conditions, f'read_{kind}')
  with pytest.raises(ValueError, match=f'--{kind}=.*no such file'):
    read(str(tmp_path / 'none'))
