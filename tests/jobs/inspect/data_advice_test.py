"""Advice about datasets: the image size, warnings, and the command."""

import shlex

import pytest

from rq_jax.jobs.inspect import data_advice


def described(**changes):
  """Figures of a dataset without problems."""
  figures = {
      'path': 'my images',
      'source': 'image_folder',
      'splits': {
          'train': {'images': 1000, 'read': 1000, 'broken': 0},
          'test': {'images': 100, 'read': 100, 'broken': 0},
      },
      'classes': [
          {'name': 'cat', 'train': 500, 'test': 50},
          {'name': 'dog', 'train': 500, 'test': 50},
      ],
      'sizes': {
          'enlarged': {32: 0.0, 64: 0.0, 128: 0.0, 256: 0.0},
          'cropped_away': 0.1,
      },
      'rotated': 0,
      'broken': [],
      'remarks': [],
      'duplicates': {'images': 0, 'held_out': 0, 'groups': []},
      'similar': {'images': 0, 'held_out': 0, 'groups': []},
  }
  return figures | changes


def _sized(images, *enlarged):
  found = described()
  found['splits']['train']['images'] = images
  found['sizes']['enlarged'] = dict(zip((32, 64, 128, 256), enlarged))
  return data_advice.image_size(found)


@pytest.mark.parametrize(
    ('images', 'enlarged', 'size', 'reason'),
    [
        (10**6, (0, 0, 0, 0.05), 256, 'large enough, and there are enough'),
        (10**6, (0, 0, 0.1, 0.11), 128, 'At 256, 11% of the images would'),
        (2000, (0, 0, 0, 0), 64, 'large enough for 256, but 2,000 training'),
        (100, (0, 0, 0, 0), 32, '100 training images are too few'),
        (10**6, (0, 0.2, 0.5, 1), 32, 'At 64, 20% of the images would'),
        (10**6, (0.5, 1, 1, 1), 32, '50% of the images are smaller'),
    ],
)
def test_the_size_follows_from_sizes_and_number(images, enlarged, size, reason):
  found, sentence = _sized(images, *enlarged)
  assert found == size
  assert reason in sentence
  assert sentence.endswith('.') and sentence[0] in '0123456789AT'
  assert ('on a CPU' in sentence) == (size > 64)


def test_a_dataset_without_problems_has_no_warnings():
  assert data_advice.warnings(described()) == []


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'broken': [{}] * 3}, 'cannot be read: 3. Training stops'),
        ({'remarks': ['Odd.']}, 'Odd.'),
        ({'duplicates': {'images': 2, 'held_out': 0}}, 'copies of others: 2.'),
        ({'rotated': 7}, '(EXIF): 7.'),
        (
            {'similar': {'images': 9, 'held_out': 4}},
            'nearly like training images: 4.',
        ),
        (
            {
                'classes': [
                    {'name': 'cat', 'train': 30, 'test': 1},
                    {'name': 'dog', 'train': 300, 'test': 1},
                ]
            },
            'cat has 30 training images, and dog has 300.',
        ),
        (
            {
                'classes': [
                    {'name': 'cat', 'train': 0, 'test': 1},
                    {'name': 'dog', 'train': 300, 'test': 1},
                ]
            },
            'No training image was found of these classes: cat.',
        ),
        (
            {'splits': {'train': {'images': 20}}},
            'only 20 training images',
        ),
        (
            {'sizes': {'cropped_away': 0.5}},
            '50% of an image lies outside its central square',
        ),
    ],
)
def test_each_problem_has_one_warning(changes, words):
  (sentence,) = data_advice.warnings(described(**changes))
  assert words in sentence


def test_held_out_copies_have_a_warning_of_their_own():
  copies = {'images': 2, 'held_out': 1}
  first, second = data_advice.warnings(described(duplicates=copies))
  assert first.startswith('Held-out images that are also in the training split')
  assert second.endswith(': 2.')


def test_nearly_balanced_classes_and_one_class_are_fine():
  for counts in ([30, 299], [30]):
    classes = [{'name': 'x', 'train': n, 'test': 1} for n in counts]
    assert data_advice.warnings(described(classes=classes)) == []


def test_the_command_is_one_that_a_shell_reads_back():
  words = shlex.split(data_advice.command(described(), 64).replace('\\\n', ''))
  assert words == [
      'python',
      '-m',
      'rq_jax',
      'train',
      '--config=configs/own/rqvae.py:64',
      '--config.data.path=my images',
      '--workdir=runs/mine/rqvae',
  ]
  shards = data_advice.command(described(source='webdataset'), 128)
  assert '--config.data.source=webdataset' in shards
  assert 'rqvae.py:128' in shards
