"""A sampling job: the images, the files and the final sentence."""

import contextlib
import functools
import json
import re

import jax
import numpy as np
from PIL import Image
import pytest

from rq_jax import files as files_lib
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.jobs.sample import layout
from rq_jax.sampling import Sampling
from tests.jobs import generators

KEY = jax.random.key(5)


@functools.cache
def expected():
  """Images and labels of the job, drawn by hand with a padded last chunk."""
  labels = np.array([4, 2, 4, 2, 4, 2, 4], np.int32)
  rows = [labels[:3], labels[3:6], labels[[6, 6, 6]]]
  chunks = [
      np.asarray(
          generators.labelled_sampler()(KEY, labels=row, first_index=3 * i)
      )
      for i, row in enumerate(rows)
  ]
  images = np.concatenate(chunks)[:7]
  assert len({image.tobytes() for image in images}) == 7
  return images, labels


@pytest.fixture(scope='module', params=layout.FORMATS)
def undisturbed(request, tmp_path_factory):
  """The format and the folder of a job that ran without interruption."""
  out = tmp_path_factory.mktemp('undisturbed') / request.param
  generators.run_labels(out, format=request.param)
  return request.param, out


def savez(path, *arrays):
  np.savez(path, *arrays)
  return path.read_bytes()


def test_each_format_holds_the_images_and_labels(undisturbed, tmp_path):
  name, out = undisturbed
  images, labels = expected()
  files = generators.contents(out)
  assert files.pop('job.json')['num_images'] == 7
  assert files.pop('grid.png') and files.pop('hashes.json')
  if name == 'png':
    assert json.loads(files.pop('labels.json')) == labels.tolist()
    assert sorted(files) == [f'00000{i}.png' for i in range(7)]
    for i, image in enumerate(images):
      written = np.asarray(Image.open(out / f'00000{i}.png'))
      np.testing.assert_array_equal(written, image)
  elif name == 'npz':
    whole = savez(tmp_path / 'x.npz', images, labels)
    assert files == {'samples.npz': whole}
  else:
    assert files == {
        f'shard-0000{s}-of-00004.npz': savez(
            tmp_path / 'x.npz', images[2 * s :][:2], labels[2 * s :][:2]
        )
        for s in range(4)
    }


def test_the_grid_shows_the_images_row_by_row(undisturbed):
  images, _ = expected()
  grid = np.asarray(Image.open(undisturbed[1] / 'grid.png'))
  assert grid.shape == (3 * 18 + 2, 3 * 18 + 2, 3)
  for i, image in enumerate(images):
    y, x = 18 * (i // 3) + 2, 18 * (i % 3) + 2
    np.testing.assert_array_equal(grid[y : y + 16, x : x + 16], image)


@pytest.mark.parametrize('shard_size', [2, 60, 150])
def test_the_grid_shows_a_hundred_at_most(shard_size, tmp_path):
  generators.run_labels(
      tmp_path,
      format='shards',
      num_images=130,
      shard_size=shard_size,
      chunk_size=65,
  )
  grid = np.asarray(Image.open(tmp_path / 'grid.png'))
  assert grid.shape == (10 * 18 + 2, 10 * 18 + 2, 3)
  drawn = generators.labelled_sampler()(
      KEY, labels=np.resize([2, 4], 65), first_index=65
  )
  np.testing.assert_array_equal(grid[-18:-2, -18:-2], drawn[34])


@pytest.mark.parametrize('name', ['png', 'npz'])
def test_a_model_without_classes_leaves_no_labels(name, tmp_path):
  made = generators.sampler(**generators.NOTHING)
  generators.run(tmp_path, made, num_images=2, format=name)
  images = made(KEY, num_images=3)[:2]
  if name == 'png':
    assert not (tmp_path / 'labels.json').exists()
    written = np.asarray(Image.open(tmp_path / '000001.png'))
    np.testing.assert_array_equal(written, images[1])
  else:
    with np.load(tmp_path / 'samples.npz') as arrays:
      assert arrays.files == ['arr_0']
      np.testing.assert_array_equal(arrays['arr_0'], images)


def test_texts_are_drawn_in_turn(tmp_path):
  made = generators.sampler(**generators.TEXTS)
  tokens = np.array([[1, 2, 3], [19, 0, 7]])
  fields = dict(kind='tokens', values=tokens, num_images=3, format='npz')
  generators.run(tmp_path, made, **fields)
  with np.load(tmp_path / 'samples.npz') as arrays:
    np.testing.assert_array_equal(
        arrays['arr_0'], made(KEY, tokens=tokens[[0, 1, 0]])
    )


def test_the_time_to_compile_is_told(tmp_path, monkeypatch):
  images = drawing_lib.Drawing.chunks
  event = '/jax/core/compile/backend_compile_duration'

  def chunks(self, numbers):
    jax.monitoring.record_event_duration_secs(event, 1234.5)
    return images(self, numbers)

  generators.run_labels(tmp_path)  # Compiles everything that later calls need.
  monkeypatch.setattr(drawing_lib.Drawing, 'chunks', chunks)
  sentence = generators.run_labels(tmp_path / 'more')
  assert re.fullmatch(
      f'7 images are in {tmp_path}/more; drawn at [0-9.]+ images per second, in'
      ' [0-9.]+ s of which compiling took 1234.[5-9].',
      sentence,
  )


@pytest.mark.parametrize('name', layout.FORMATS)
def test_a_finished_job_is_left_alone(name, tmp_path, monkeypatch):
  generators.run_labels(tmp_path, format=name)

  def write(path, **_):
    raise AssertionError(path)

  monkeypatch.setattr(files_lib, 'whole', write)
  assert 'All 7 images were in' in generators.run_labels(tmp_path, format=name)


def test_the_next_chunk_is_under_way_while_one_is_written(
    tmp_path, monkeypatch
):
  events = generators.counted(monkeypatch)
  write = layout.Files.write

  def record(self, chunk, images, pool):
    events.append(f'chunk {chunk}')
    write(self, chunk, images, pool)

  monkeypatch.setattr(layout.Files, 'write', record)
  generators.run_labels(tmp_path)
  assert events == [0, 3, 'chunk 0', 6, 'chunk 1', 'chunk 2']


def test_a_full_disk_ends_the_job(tmp_path, monkeypatch):
  whole = files_lib.whole

  @contextlib.contextmanager
  def full(path, **options):
    with whole(path, **options) as file:
      if path.name == '000004.png':
        raise OSError(28, 'No space left on device')
      yield file

  monkeypatch.setattr(files_lib, 'whole', full)
  with pytest.raises(files_lib.DiskFullError, match='is full.* are needed'):
    generators.run_labels(tmp_path)
  assert not (tmp_path / '000004.png').exists()
  assert not list(tmp_path.glob(f'*{files_lib.PARTIAL}'))


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (dict(values=[3, 10]), 'labels=10 is out of range'),
        (dict(values=[2**40]), 'labels=1099511627776 is out of range'),
        # The wrong label is in the second chunk.
        (dict(values=[0, 1, 2, 3, -1]), 'labels=-1 is out of range'),
    ],
)
def test_what_the_model_does_not_take_is_refused_before_all(
    fields, words, tmp_path
):
  with pytest.raises(ValueError, match=words):
    generators.run_labels(tmp_path / 'out', **fields)
  assert not (tmp_path / 'out').exists()


def test_options_for_another_depth_are_refused_before_all(tmp_path):
  sampling = Sampling(top_k=[1, 2, 3])
  with pytest.raises(ValueError, match='has 3 numbers'):
    generators.run_labels(tmp_path / 'out', sampling=sampling)
  assert not (tmp_path / 'out').exists()
