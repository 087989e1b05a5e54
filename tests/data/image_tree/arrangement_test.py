"""Splits and classes are found in the folders, or it is said what is odd."""

import pytest

from rq_jax.data.image_tree import arrangement
from rq_jax.data.image_tree import scan
from tests.data.image_tree import trees


def arranged(folder, *names, **options):
  trees.fill(folder, *names)
  tree = scan.scan(str(folder))
  found = arrangement.arrange(tree, str(folder), **options)
  folders = list(tree.folders)
  return found, {
      split: [(folders[f], int(label))
              for f, label in zip(ids, found.labels[split], strict=True)]
      for split, ids in found.folders.items()
  }  # fmt: skip


@pytest.mark.parametrize('train', ['train', 'Train', 'TRAINING'])
@pytest.mark.parametrize('test', ['test', 'Test', 'val', 'VALID', 'validation'])
def test_usual_names_of_splits_are_known_in_any_case(tmp_path, train, test):
  names = f'{train}/b/1.png', f'{train}/a/1.png', f'{test}/b/2.png'
  found, folders = arranged(tmp_path, *names)
  assert found.split_names and not found.remarks
  assert found.class_names == ('a', 'b')
  assert folders == {
      'train': [(f'{train}/a', 0), (f'{train}/b', 1)],
      'test': [(f'{test}/b', 1)],
  }


def test_flat_folders_of_splits_have_no_classes(tmp_path):
  found, folders = arranged(tmp_path, 'train/1.png', 'valid/2.png')
  assert found.split_names and found.class_names is None and not found.remarks
  assert folders == {'train': [('train', 0)], 'test': [('valid', 0)]}


def test_files_below_a_class_folder_belong_to_the_class(tmp_path):
  names = 'cat/sub/sub/1.png', 'cat/0.png', 'dog/x/2.png', 'cat/a/3.png'
  found, folders = arranged(tmp_path, *names)
  assert not found.split_names and not found.remarks
  assert found.class_names == ('cat', 'dog')
  cat = [('cat', 0), ('cat/a', 0), ('cat/sub', 0), ('cat/sub/sub', 0)]
  both = [*cat, ('dog', 1), ('dog/x', 1)]
  assert folders == {'train': both, 'test': both}


def test_numbers_in_names_of_classes_sort_as_numbers_or_as_text(tmp_path):
  names = [f'{name}/0.png' for name in ('10', '9', 'b10', 'b9', 'a', '09')]
  natural, _ = arranged(tmp_path, *names)
  assert natural.class_names == ('09', '9', '10', 'a', 'b9', 'b10')
  alphabetical, _ = arranged(tmp_path, order='alphabetical')
  assert alphabetical.class_names == ('09', '10', '9', 'a', 'b10', 'b9')


def test_names_of_the_same_number_have_a_fixed_order(tmp_path):
  names = '1', '01', '001', '0001', '00001'
  found, _ = arranged(tmp_path, *(f'{name}/0.png' for name in names))
  assert found.class_names == names[::-1]


def test_one_split_without_the_other_is_refused(tmp_path):
  one = tmp_path / 'one'
  with pytest.raises(ValueError) as error:
    arranged(one, 'Train/a/1.png')
  assert str(error.value) == (
      f'{one} has a folder Train/, but none for held-out images (test/ or'
      ' testing/ or val/ or valid/ or validation/) beside it. Add it; or, to'
      f' hold out every fifth image, set --config.data.path={one}/Train.'
  )
  with pytest.raises(ValueError, match='test/, but none for training beside'):
    arranged(tmp_path / 'other', 'val/1.png', 'test/a/1.png')


def test_a_class_may_be_called_train(tmp_path):
  found, _ = arranged(tmp_path, 'train/1.png', 'car/1.png', 'bus/1.png')
  assert found.class_names == ('bus', 'car', 'train') and not found.split_names
  assert found.remarks == (
      f'{tmp_path}/train counts as a class, not as a split, because there is no'
      ' other split beside it.',
  )


def test_images_beside_the_only_split_make_it_a_class(tmp_path):
  found, folders = arranged(tmp_path, 'train/1.png', '2.png')
  assert folders['train'] == folders['test'] == [('train', 0)]
  assert f'1 images directly in {tmp_path} are not used' in found.remarks[1]


def test_of_three_splits_the_unused_one_is_named(tmp_path):
  names = 'train/1.png', 'val/2.png', 'test/3.png', 'extra/4.png', '5.png'
  found, folders = arranged(tmp_path, *names)
  assert folders == {'train': [('train', 0)], 'test': [('test', 0)]}
  rest = ': the splits are train/ and test/.'
  assert found.remarks == (
      f'{tmp_path}/extra is not used (1 images){rest}',
      f'{tmp_path}/val is not used (1 images){rest}',
      f'1 images directly in {tmp_path} are not used{rest}',
  )


@pytest.mark.parametrize(
    'names',
    [
        ('train/1.png', 'Train/2.png', 'test/3.png'),
        ('train/1.png', 'training/2.png', 'val/3.png'),
        ('train/1.png', 'val/2.png', 'Val/3.png'),
    ],
)
def test_two_folders_for_one_split_are_refused(tmp_path, names):
  with pytest.raises(ValueError, match='could be the same split. Keep one'):
    arranged(tmp_path, *names)


def test_splits_must_agree_about_classes(tmp_path):
  with pytest.raises(ValueError, match='/test has 2 images without class fold'):
    arranged(tmp_path / '1', 'train/a/1.png', 'test/2.png', 'test/3.png')
  with pytest.raises(ValueError, match='/train has 1 images without class fol'):
    arranged(tmp_path / '2', 'train/1.png', 'test/a/2.png')


def test_images_beside_class_folders_are_named(tmp_path):
  found, folders = arranged(tmp_path, 'a/1.png', 'b/2.png', '3.png', '4.png')
  assert folders['train'] == [('a', 0), ('b', 1)]
  assert found.remarks == (
      f'2 images directly in {tmp_path} are not used, because they lie beside'
      ' class folders and have no class.',
  )
  # Folders without images are no class folders.
  found, folders = arranged(tmp_path / 'flat', '1.png', 'notes/a.txt')
  assert found.class_names is None and not found.remarks
  assert folders['train'] == [('', 0)]


def test_classes_without_images_are_named(tmp_path):
  names = 'train/a/1.png', 'test/a/1.png', 'test/b/2.png', 'train/c/x.gif'
  found, _ = arranged(tmp_path, *names)
  assert found.class_names == ('a', 'b', 'c')
  assert found.remarks == ('1 of 3 classes have no images: c.',)


def test_a_single_folder_around_the_classes_is_named(tmp_path):
  found, _ = arranged(tmp_path, 'dataset/cat/1.png', 'dataset/dog/2.png')
  assert found.class_names == ('dataset',)
  (remark,) = found.remarks
  assert f'set --config.data.path={tmp_path}/dataset.' in remark
  found, _ = arranged(tmp_path / 'one', 'dataset/1.png')
  assert not found.remarks
