"""Statistics of datasets, against NumPy and a folder with known contents."""

import json

import numpy as np
import pytest

from rq_jax.jobs.inspect import data
from rq_jax.jobs.inspect import reading
from tests.jobs.inspect import images


@pytest.fixture(scope='module')
def found(tmp_path_factory):
  folder = images.write(tmp_path_factory.mktemp('images'))
  return data.describe(reading.read(images.data(folder)))


class Named:
  """A source with classes, of which nothing is read."""

  num_classes = 3
  class_names = ('ant', 'b\nee', 'cow')
  ignored = {'hidden files': 4}
  remarks = ('The folder x is not understood.',)

  def __len__(self):
    return 10


def _split(name, labels, **facts):
  rows = np.zeros(len(labels), reading.ROW)
  rows['index'] = np.arange(len(labels))
  rows['label'] = labels
  rows['digest'] = np.arange(len(labels)) + (100 if name == 'test' else 0)
  rows['height'] = rows['width'] = 8
  for fact, values in facts.items():
    rows[fact] = values
  return reading.Split(name=name, source=Named(), rows=rows, broken=())


def test_sizes_are_those_of_numpy():
  rng = np.random.default_rng(0)
  heights, widths = rng.integers(20, 400, (2, 500))
  found = data.sizes(heights, widths)
  short, long = np.minimum(heights, widths), np.maximum(heights, widths)
  ratios = long / short
  assert found['distinct'] == len(set(zip(heights, widths)))
  smallest = np.argmin(heights * widths)
  assert found['smallest'] == [widths[smallest], heights[smallest]]
  assert sum(found['short_side'].values()) == 500
  assert found['short_side']['64 to 127'] == np.sum(
      (short >= 64) & (short < 128)
  )
  assert found['short_side']['32 to 63'] == np.sum((short >= 32) & (short < 64))
  assert found['shapes']['square'] == np.sum(ratios == 1)
  between = (ratios > 4 / 3) & (ratios <= 2)
  assert found['shapes']['up to 2:1'] == np.sum(between)
  assert sum(found['shapes'].values()) == 500
  for size, share in found['enlarged'].items():
    assert share == pytest.approx(np.mean(short < size))
  lost = 1 - short * short / (heights * widths)
  assert found['cropped_away'] == pytest.approx(lost.mean())


def test_the_common_sizes_come_first():
  heights, widths = np.array([5, 5, 7, 7, 7, 9]), np.array([6, 6, 8, 8, 8, 9])
  common = data.sizes(heights, widths)['common']
  assert common[0] == {'width': 8, 'height': 7, 'images': 3}
  assert common[1] == {'width': 6, 'height': 5, 'images': 2}


@pytest.mark.parametrize('side', [3, 6, 300, 333, 1000])
def test_pictures_of_four_to_three_are_not_counted_as_longer(side):
  height, width = np.array([3 * side]), np.array([4 * side])
  assert data.sizes(height, width)['shapes']['up to 4:3'] == 1


def test_a_folder_is_described_as_it_was_written(found):
  assert found['splits'] == {
      'train': {'images': 13, 'read': 13, 'broken': 1},
      'test': {'images': 3, 'read': 3, 'broken': 0},
  }
  counts = [(c['train'], c['test']) for c in found['classes']]
  assert counts == [(6, 2), (6, 1)]
  assert (found['grey'], found['alpha'], found['rotated']) == (1, 1, 1)
  assert found['sizes']['largest'] == [300, 300]
  (broken,) = found['broken']
  assert broken['split'] == 'train' and 'empty.jpg' in broken['reason']


def test_copies_across_splits_come_first(found):
  groups = [
      [(image['split'], image['name'].rpartition('/')[2]) for image in group]
      for group in found['duplicates']['groups']
  ]
  assert groups == [
      [('train', '1.png'), ('test', 'leaked.png')],
      [('train', '0.png'), ('train', 'copy of cat 0.png')],
  ]
  assert found['duplicates']['images'] == 2
  assert found['duplicates']['held_out'] == 1


def test_an_image_saved_again_as_jpeg_is_similar(found):
  (group,) = found['similar']['groups']
  names = [image['name'].rpartition('/')[2] for image in group]
  assert names == ['2.png', 'again.jpg']
  assert found['similar']['held_out'] == 1


def test_classes_have_their_names_and_counts_in_both_splits():
  splits = {
      'train': _split('train', [0, 0, 2]),
      'test': _split('test', [2, 2]),
  }
  assert data.describe(splits)['classes'] == [
      {'name': 'ant', 'train': 2, 'test': 0},
      {'name': 'b\\nee', 'train': 0, 'test': 0},
      {'name': 'cow', 'train': 1, 'test': 2},
  ]


def test_what_a_source_says_of_its_files_is_kept_once():
  splits = {'train': _split('train', [0]), 'test': _split('test', [1])}
  found = data.describe(splits)
  assert found['ignored'] == {'hidden files': 4}
  assert found['remarks'] == ['The folder x is not understood.']


def test_headers_are_unknown_without_files():
  splits = {'train': _split('train', [0]), 'test': _split('test', [1])}
  found = data.describe(splits)
  assert found['alpha'] is None and found['rotated'] is None


def test_figures_can_be_written_as_json(found):
  assert json.loads(json.dumps(found))['grey'] == 1
