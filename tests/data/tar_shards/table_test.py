"""The files of a sample are found, with its label and its text."""

import io
import json
import tarfile

import numpy as np
import pytest
import webdataset

from rq_jax.data.tar_files import Tar
from rq_jax.data.tar_shards import table as table_lib
from tests.data import tars

IMAGE = tars.picture(1)


def read(path):
  return table_lib.read(Tar.at(path))


def contents(path, places):
  """What lies in a tar file at some offsets."""
  content = path.read_bytes()
  return [content[start : start + size] for start, size in places.tolist()]


def of(tmp_path, contents):
  return read(tars.write(tmp_path / 'a.tar', contents))


@pytest.mark.filterwarnings('ignore::ResourceWarning')
def test_samples_are_those_that_webdataset_finds(tmp_path):
  contents_by_name = {
      './sub.v1/000.JPG': IMAGE,
      './sub.v1/000.cls': b'3',
      './sub.v1/000.seg.png': tars.picture(9),
      '__key__': b'about the whole',
      '__about__/x.json': b'{}',
      '._000.jpg': b'a sidecar of macOS',
      'README': b'words',
      'other/000.jpg': tars.picture(2),
      'other/000.txt': b'two',
  }
  path = tars.write(tmp_path / 'a.tar', contents_by_name)
  table = read(path)
  expected = list(webdataset.WebDataset(str(path), shardshuffle=False))
  assert [sample['__key__'] for sample in expected] == [
      './sub.v1/000',
      'other/000',
  ]
  assert list(table.names) == ['./sub.v1/000.JPG', 'other/000.jpg']
  images = [sample['jpg'] for sample in expected]
  assert contents(path, table.images) == images
  assert contents(path, table.texts)[1:] == [expected[1]['txt']]
  assert table.kinds.tolist() == [table_lib.NO_TEXT, table_lib.PLAIN]
  assert (table.labels.tolist(), table.labels.dtype) == ([3, -1], np.int32)


def test_labels_and_texts_may_be_in_json(tmp_path):
  about = [
      {'label': 4, 'caption': 'four'},
      {'cls': '5', 'text': 'five', 'caption': None},
      {'url': 'x'},
  ]
  files = {}
  for i, fields in enumerate(about):
    files |= {f'{i}.jpg': IMAGE, f'{i}.json': json.dumps(fields).encode()}
  table = of(tmp_path, {**files, '3.jpg': IMAGE, '3.json': b'{damaged'})
  assert table.labels.tolist() == [4, 5, -1, -1]
  found = [
      table_lib.caption(content, kind)
      for content, kind in zip(
          contents(tmp_path / 'a.tar', table.texts), table.kinds
      )
      if kind
  ]
  assert found == ['four', 'five']


def test_files_of_their_own_come_before_json(tmp_path):
  about = json.dumps({'label': 1, 'caption': 'in json'}).encode()
  files = {'0.cls': b' 2\n', '0.json': about, '0.txt': b' plain \n'}
  table = of(tmp_path, {**files, '0.webp': tars.picture(0, 'WEBP')})
  assert table.labels.tolist() == [2]
  (content,) = contents(tmp_path / 'a.tar', table.texts)
  assert table_lib.caption(content, table.kinds[0]) == 'plain'


def test_samples_without_an_image_are_listed(tmp_path):
  files = {'0.txt': b'x', '1.jpg': IMAGE, '2.txt': b'x', '2.gif': IMAGE}
  table = of(tmp_path, files)
  assert (list(table.names), list(table.imageless)) == (['1.jpg'], ['0', '2'])


def test_a_tar_file_may_be_empty(tmp_path):
  table = of(tmp_path, {})
  assert len(table) == 0
  assert table.images.shape == (0, 2)
  assert len(table_lib.join([table, table])) == 0


def test_the_stored_table_saves_the_scan(tmp_path, monkeypatch):
  path = tars.write_downloaded(tmp_path / '00000.tar', range(3))
  first = read(path)
  monkeypatch.setattr(tarfile, 'open', None)
  second = read(path)
  for one, other in zip(
      vars(first).values(), vars(second).values(), strict=True
  ):
    assert list(np.ravel(one)) == list(np.ravel(other))
  assert [p.name for p in tmp_path.iterdir() if p != path] == [
      '00000.tar.samples'
  ]


def test_joined_tables_hold_the_samples_of_all(tmp_path):
  paths = [
      tars.write_samples(tmp_path / f'{i}.tar', numbers, cls=lambda n: n)
      for i, numbers in enumerate(([1, 2], [], [3]))
  ]
  joined = table_lib.join([read(path) for path in paths])
  names = [f'00000000{i}.png' for i in (1, 2, 3)]
  assert list(joined.names) == names
  assert joined.labels.tolist() == [1, 2, 3]
  assert list(joined.names.take(np.array([2, 0]))) == [names[2], names[0]]
  assert contents(paths[2], joined.images[2:]) == [tars.picture(3)]


@pytest.mark.parametrize('label', ['cat', '-1', '1.5', '', str(2**31), '²'])
def test_labels_that_are_no_numbers_of_classes_are_refused(tmp_path, label):
  with pytest.raises(ValueError, match=r'a\.tar/0\.cls has the label'):
    of(tmp_path, {'0.jpg': IMAGE, '0.cls': label.encode()})
  about = json.dumps({'label': label}).encode()
  with pytest.raises(ValueError, match=r'a\.tar/0\.json has the label'):
    of(tmp_path, {'0.jpg': IMAGE, '0.json': about})


def test_samples_whose_files_are_scattered_or_doubled_are_refused(tmp_path):
  files = {'0.jpg': IMAGE, '1.jpg': IMAGE, '0.txt': b'x'}
  with pytest.raises(ValueError, match='sample 0 do not follow each other'):
    of(tmp_path, files)
  path = tmp_path / 'b.tar'
  with tarfile.open(path, 'w') as tar:
    for name in ('0.jpg', '0.JPG'):
      member = tarfile.TarInfo(name)
      member.size = 3
      tar.addfile(member, io.BytesIO(b'abc'))
  with pytest.raises(ValueError, match=r'contains two files 0\.jpg'):
    read(path)
