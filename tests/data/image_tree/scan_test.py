"""A folder is walked through completely, once, and in a fixed order."""

import os
import pathlib
import pickle

import numpy as np
import pytest

from rq_jax import files
from rq_jax.data.image_tree import scan
from tests.data.image_tree import trees


def scanned(folder):
  return scan.scan(str(folder))


def test_all_images_are_listed_in_the_order_of_folders_and_names(tmp_path):
  trees.fill(
      tmp_path,
      *('b/2.png', 'b/10.PNG', 'a/z.jpg', 'a/sub/deep/1.webp', 'a/sub/0.jpeg'),
      *('root.png', 'a-b/1.jpg', 'a/notes.txt', '__MACOSX/a/._z.jpg'),
      *('.cache/1.jpg', 'a/.hidden.jpg', 'a/x.gif', 'a/@eaDir/z.jpg'),
  )
  (tmp_path / 'empty').mkdir()
  tree = scanned(tmp_path)
  assert trees.paths(tree) == [
      'root.png',
      'a/z.jpg',
      'a/sub/0.jpeg',
      'a/sub/deep/1.webp',
      'a-b/1.jpg',
      'b/10.PNG',
      'b/2.png',
  ]
  folders = ['', 'a', 'a/sub', 'a/sub/deep', 'a-b', 'b', 'empty']
  assert list(tree.folders) == folders
  assert tree.ignored == {
      '.gif files': 1,
      '.txt files': 1,
      'hidden files and folders': 2,
      'system files and folders': 2,
  }


def test_a_remote_folder_gives_the_same_list(tmp_path, monkeypatch):
  trees.fill(
      tmp_path, 'b/2.png', 'a/1.JPG', 'a/sub/3.png', 'a/._1.JPG', 'x.gif'
  )
  local = scanned(tmp_path)
  monkeypatch.setattr(files, 'is_local', lambda path: False)
  remote = scanned(tmp_path)
  assert trees.paths(remote) == trees.paths(local)
  assert remote.ignored == local.ignored
  assert not remote.stamps.any() and local.stamps.all()


def test_links_to_files_and_folders_are_followed(tmp_path):
  trees.fill(tmp_path, 'pool/1.png', 'pool/sub/2.png')
  data = tmp_path / 'data'
  trees.fill(data, 'cat/0.png')
  (data / 'cat' / '1.png').symlink_to(tmp_path / 'pool' / '1.png')
  for name in ('dog', 'puppy'):  # Both classes have the same images.
    (data / name).symlink_to(tmp_path / 'pool')
  assert trees.paths(scanned(data)) == [
      'cat/0.png',
      'cat/1.png',
      'dog/1.png',
      'dog/sub/2.png',
      'puppy/1.png',
      'puppy/sub/2.png',
  ]


def test_links_that_lead_to_each_other_end(tmp_path):
  """Without a limit, 12 such folders would have 12! paths."""
  trees.fill(tmp_path, *(f'c/d/{i}/{i}.png' for i in range(12)))
  for i in range(12):
    for j in range(12):
      target = tmp_path / 'c' / 'd' / str(j)
      (tmp_path / 'c' / 'd' / str(i) / f'to{j}').symlink_to(target)
  (tmp_path / 'c' / 'up').symlink_to(tmp_path)
  (tmp_path / 'self').symlink_to(tmp_path / 'self')
  (tmp_path / 'gone').symlink_to(tmp_path / 'nothing')
  tree = scanned(tmp_path)
  numbers = sorted(int(pathlib.Path(p).stem) for p in trees.paths(tree))
  assert numbers == list(range(12))
  assert tree.ignored['links to folders that were listed already'] > 12
  assert tree.ignored['other files'] == 2


def test_whatever_has_the_name_of_an_image_is_listed_unopened(tmp_path):
  """Reading refuses them by name."""
  os.mkfifo(tmp_path / 'fifo.jpg')
  (tmp_path / 'folder.jpg').mkdir()
  (tmp_path / 'gone.png').symlink_to(tmp_path / 'nothing')
  (tmp_path / 'zero.png').symlink_to('/dev/zero')
  assert len(scanned(tmp_path).files) == 4


def test_any_name_is_kept(tmp_path):
  odd = [b'a b.png', b'new\nline.png', b'\xff\xfe.png', 'ü🎉.png'.encode()]
  for name in odd:
    (tmp_path / os.fsdecode(name)).write_bytes(b'x')
  tree = scanned(tmp_path)
  assert sorted(map(os.fsencode, tree.files)) == sorted(odd)
  assert trees.paths(tree) == sorted(map(os.fsdecode, odd))


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
  trees.fill(tmp_path, 'a/1.png')

  def refuse(folder):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(os, 'scandir', refuse)
  with pytest.raises(ValueError, match=f'{tmp_path} cannot be listed: Permiss'):
    scanned(tmp_path)


def test_a_list_takes_little_memory_and_survives_pickling(tmp_path):
  names = [f'{i:06d}.png' for i in range(200)]
  trees.fill(tmp_path, *names)
  tree = scanned(tmp_path)
  copy = pickle.loads(pickle.dumps(tree))
  assert trees.paths(copy) == names
  assert tree.files.data.nbytes == 200 * 10
  assert tree.files.ends.dtype == np.int64
