"""Tar files are found, and belong to the split that their paths contain."""

import os

import pytest

from rq_jax.data.tar_shards import finding


def find(root, *names):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  return finding.find(root)


def relative(found, paths):
  return [os.path.relpath(path, found.root) for path in paths]


@pytest.mark.parametrize(
    ('train', 'held_out', 'name'),
    [
        ('cc3m-train-0000.tar', 'cc3m-validation-0000.tar', 'validation'),
        ('train/00000.tar', 'val/00000.tar', 'validation'),
        ('Train/00000.tar', 'Test/00000.tar', 'test'),
        ('train2017_01.tar', 'valid2017_01.tar', 'validation'),
        ('imagenet1k-train-0.TAR', 'imagenet1k-test-0.TAR', 'test'),
    ],
)
def test_paths_contain_the_split(tmp_path, train, held_out, name):
  found = find(tmp_path, held_out, train, 'train.txt', '._train.tar')
  assert relative(found, found.train) == [train]
  assert relative(found, found.held_out) == [held_out]
  assert (found.held_out_name, found.unused) == (name, [])


def test_with_three_splits_the_test_split_is_not_used(tmp_path):
  found = find(tmp_path, 'train.tar', 'val.tar', 'test-0.tar', 'test-1.tar')
  assert relative(found, found.held_out) == ['val.tar']
  assert relative(found, found.unused) == ['test-0.tar', 'test-1.tar']


@pytest.mark.parametrize(
    'names',
    [
        ['00000.tar', '00001.tar'],
        ['retrain-0.tar', 'valley-0.tar'],
        ['part1/0.tar', 'part2/0.tar'],
        ['train-0.tar', 'train-1.tar'],
        ['val-0.tar'],
    ],
)
def test_without_two_splits_all_are_for_training(tmp_path, names):
  found = find(tmp_path, *reversed(names), 'x.tar.samples', 'deep/er/0.tar')
  assert relative(found, found.train) == names
  assert (found.held_out, found.held_out_name) == ([], None)


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        (['train-0.tar', '00000.tar'], r'00000\.tar contains none of train'),
        (['val-0.tar', 'test-0.tar'], 'no tar file with train in its path'),
        (['0.tar', '1.tar.gz'], r'1\.tar\.gz is compressed'),
        (['x.zip'], 'is not a folder with tar files'),
    ],
)
def test_folders_that_are_not_understood_are_refused(tmp_path, names, words):
  with pytest.raises(ValueError, match=words):
    find(tmp_path, *names)


def test_other_things_than_local_folders_are_refused(tmp_path):
  with pytest.raises(ValueError, match='is not a folder with tar files'):
    finding.find(tmp_path / 'none')
  with pytest.raises(ValueError, match='Copy it to a local disk'):
    finding.find('gs://bucket/shards')
