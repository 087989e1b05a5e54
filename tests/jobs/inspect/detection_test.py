"""The files in a folder decide how it is read."""

import pytest

from rq_jax.jobs.inspect import detection


def test_a_folder_of_images_is_recognised_and_a_cache_is_refused(tmp_path):
  assert detection.source_of(str(tmp_path)) == 'image_folder'
  (tmp_path / 'train').mkdir()
  (tmp_path / 'train' / 'meta.json').write_text('{}')
  with pytest.raises(ValueError, match='is a cache of features'):
    detection.source_of(str(tmp_path))
  with pytest.raises(ValueError, match='is not a folder'):
    detection.source_of(str(tmp_path / 'none'))


@pytest.mark.parametrize(
    ('file', 'source'),
    [
        ('a/0.png', 'image_folder'),
        ('0.tar', 'webdataset'),
        ('train/0.tar', 'webdataset'),
        ('val/0.TAR', 'webdataset'),
        ('dataset_info.json', 'tfds'),
        ('mnist/3.0.1/dataset_info.json', 'tfds'),
        ('lsun/church/3.1.0/dataset_info.json', 'tfds'),
    ],
)
def test_the_files_decide_the_source(tmp_path, file, source):
  (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
  (tmp_path / file).touch()
  assert detection.source_of(str(tmp_path)) == source


def test_an_archive_beside_images_does_not_hide_them(tmp_path):
  (tmp_path / 'cat').mkdir()
  for name in ('cat/0.png', 'cat/all.tar'):
    (tmp_path / name).touch()
  assert detection.source_of(str(tmp_path)) == 'image_folder'
