"""One rule decides which entries of a folder count as images."""

import pytest

from rq_jax.data.image_tree import entries


@pytest.mark.parametrize(
    'name',
    ['.hidden.jpg', '._x.jpg', '.DS_Store', '.ipynb_checkpoints', '.git'],
)
def test_what_begins_with_a_dot_is_hidden(name):
  assert entries.ignored(name) == 'hidden files and folders'


@pytest.mark.parametrize(
    'name',
    ['__MACOSX', '@eaDir', 'Thumbs.db', 'THUMBS.DB', 'desktop.ini']
    + ['$RECYCLE.BIN', 'System Volume Information', 'lost+found', 'Icon\r'],
)
def test_what_systems_leave_behind_is_ignored(name):
  assert entries.ignored(name) == 'system files and folders'


@pytest.mark.parametrize(
    'name',
    ['x.jpg', 'x.JPG', 'X.Jpeg', 'a.b.png', 'x y.WEBP', '_.png', '@.png'],
)
def test_endings_of_images_count_in_any_case(name):
  assert entries.ignored(name) is None
  assert entries.is_image(name)


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('x.jpg.txt', '.txt files'),
        ('x.GIF', '.gif files'),
        ('jpg', 'other files'),
        ('README', 'other files'),
        ('frame.000017', 'other files'),
        ('x.jpg~backup-of-yesterday', 'other files'),
    ],
)
def test_other_files_are_counted_by_their_ending(name, kind):
  assert entries.ignored(name) is None
  assert not entries.is_image(name)
  assert entries.kind(name) == kind
