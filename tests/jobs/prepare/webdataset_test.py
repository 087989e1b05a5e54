"""Tar shards are read for `prepare` with labels, texts and class names."""

import pytest

from rq_jax.data import image_files
from rq_jax.jobs.prepare import origins
from rq_jax.jobs.prepare import webdataset
from tests.data import tars


def test_samples_carry_their_labels_texts_and_names(tmp_path):
  for name, numbers in (('a-train-0', [4, 5]), ('a-valid-0', [6])):
    tars.write_samples(
        tmp_path / f'{name}.tar', numbers, cls=lambda n: n, txt=str
    )
  (tmp_path / 'classes.txt').write_text('\n'.join('abcdefgh'))
  opened = webdataset.open_splits(str(tmp_path))
  assert list(opened) == ['train', 'validation']
  train = opened['train']
  assert [train[i] for i in range(len(train))] == [
      origins.Raw(
          content=tars.picture(i),
          name=f'a-train-0.tar/00000000{i}.png',
          label=i,
          text=str(i),
      )
      for i in (4, 5)
  ]
  assert train.num_bytes == 2 * len(tars.picture(4))
  for origin in opened.values():
    assert (origin.num_classes, origin.class_names) == (8, tuple('abcdefgh'))
    assert origin.has_texts
  assert opened['train'].listing != opened['validation'].listing


def test_samples_without_labels_and_texts_have_none(tmp_path):
  tars.write_samples(tmp_path / '0.tar', range(7))
  opened = webdataset.open_splits(str(tmp_path))
  assert list(opened) == ['train']
  origin = opened['train']
  assert len(origin) == 7  # Without splits, none is held out here.
  assert (origin[3].label, origin[3].text) == (None, None)
  assert (origin.num_classes, origin.class_names) == (0, None)
  assert not origin.has_texts


def test_texts_that_one_split_lacks_are_left_out_and_named(tmp_path, capsys):
  tars.write_samples(tmp_path / 'train-0.tar', [1], txt=str)
  tars.write_samples(tmp_path / 'valid-0.tar', [2])
  opened = webdataset.open_splits(str(tmp_path))
  assert [(o.has_texts, o[0].text) for o in opened.values()] == [
      (False, None),
      (False, None),
  ]
  assert 'left out, because only the train split has' in capsys.readouterr().out


def test_the_names_do_not_depend_on_the_place(tmp_path):
  origins_ = []
  for place in ('a', 'b'):
    tars.write_downloaded(tmp_path / place / '00000.tar', range(3))
    origins_.append(webdataset.open_splits(str(tmp_path / place))['train'])
  first, second = origins_
  assert [first[i] for i in range(3)] == [second[i] for i in range(3)]
  assert first.listing == second.listing


def test_a_text_that_cannot_be_read_breaks_its_sample(tmp_path):
  image = tars.picture(0)
  files = {'0.png': image, '0.txt': b'\xff', '1.png': image, '1.txt': b'good'}
  tars.write(tmp_path / '0.tar', files)
  origin = webdataset.open_splits(str(tmp_path))['train']
  with pytest.raises(image_files.BrokenImageError, match=r'tar/0\.png is not'):
    origin[0]
  assert origin[1].text == 'good'


def test_what_is_left_out_is_told_and_nothing_at_all_is_refused(
    tmp_path, capsys
):
  tars.write(tmp_path / 'a' / '0.tar', {'0.txt': b'x', '1.png': b'y'})
  assert len(webdataset.open_splits(str(tmp_path / 'a'))['train']) == 1
  assert capsys.readouterr().out.startswith('1 samples have no image and are')
  tars.write(tmp_path / 'b' / '0.tar', {'0.txt': b'x'})
  with pytest.raises(ValueError, match='no sample with an image in the train'):
    webdataset.open_splits(str(tmp_path / 'b'))
