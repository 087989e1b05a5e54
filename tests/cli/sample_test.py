"""Flags of `sample`, the command that draws images."""

import json

import jax
import numpy as np
import pytest

from rq_jax import __main__ as main_lib
from rq_jax.checkpoints import class_names
from rq_jax.cli import drawing_flags
from rq_jax.cli import sample as sample_command
from rq_jax.jobs.sample import drawing
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from tests.jobs import generators


def options(*argv):
  values = sample_command._define_flags()
  values(['sample', *argv])
  return drawing_flags.options(values)


def test_options_are_passed_on_where_they_are_set():
  assert options() == {}
  given = options(
      '--temperature=0.5',
      '--top_k=3',
      '--top_p=0.7',
      '--top_p=0.8',
      '--guidance=2',
      '--guidance=1.5',
      '--guidance_schedule=cosine',
  )
  assert given == {
      'temperature': 0.5,
      'top_k': 3,
      'top_p': [0.7, 0.8],
      'guidance': [2.0, 1.5],
      'guidance_schedule': 'cosine',
  }


def test_a_folder_that_cannot_be_written_is_refused_before_a_model_is_read(
    tmp_path, capsys, monkeypatch
):
  (tmp_path / 'file').write_text('')
  monkeypatch.setattr(drawing, 'restore', None)
  out = tmp_path / 'file' / 'images'
  assert main_lib.main(['sample', '--checkpoint=x', f'--out={out}']) == 1
  assert (
      f'--out={out} cannot be written: {out.parent} is not a folder. Choose'
      ' another --out' in capsys.readouterr().err
  )


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['--labels=1', '--prompts=x'], '--labels and --prompts exclude each'),
        (['--prompts=x', '--tokens=y'], '--prompts and --tokens exclude each'),
        (['--labels=1,a'], "--labels='a' is a name, but this model has no"),
        (['--prompts=no/such'], '--prompts=no/such: there is no such file'),
        (['--tokens=no/such'], '--tokens=no/such: there is no such file'),
        (['--format=zip'], '--format=zip'),
        (['--num_images=0'], '--num_images=0'),
        (['--seed=-1'], 'seed=-1 must be a whole number in [0, 2**32)'),
        ([f'--seed={2**32}'], f'seed={2**32} must be a whole number'),
        ([f'--seed={2**70}'], 'Change --seed.'),
        (['--guidance_schedule=up'], 'constant|linear|cosine'),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_restored(
    argv, words, capsys
):
  code = main_lib.main(['sample', '--checkpoint=x', '--out=y', *argv])
  assert code == 1
  assert words in capsys.readouterr().err


@pytest.mark.slow
def test_flags_reach_the_job(tmp_path, monkeypatch, capsys):
  generators.export(tmp_path / 'model', **generators.TEXTS)
  np.save(tmp_path / 'tokens.npy', np.array([[1, 2, 3], [19, 0, 7]]))
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
  out = tmp_path / 'out'
  code = main_lib.main(
      [
          'sample',
          f'--checkpoint={tmp_path / "model"}',
          f'--tokens={tmp_path / "tokens.npy"}',
          f'--out={out}',
          '--format=shards',
          '--shard_size=1',
          '--chunk_size=3',
          '--seed=8',
          '--top_k=4',
          '--dtype=bfloat16',
      ]
  )
  assert code == 0
  assert f'2 images are in {out}' in capsys.readouterr().out
  manifest = json.loads((out / 'job.json').read_text())
  assert manifest['dtype'] == 'bfloat16'
  model = Sampler.restore(str(tmp_path / 'model'), dtype='bfloat16')
  images = model(
      jax.random.key(8),
      tokens=[[1, 2, 3], [19, 0, 7], [19, 0, 7]],
      sampling=Sampling(top_k=4),
  )
  for i in range(2):
    with np.load(out / f'shard-0000{i}-of-00002.npz') as arrays:
      np.testing.assert_array_equal(arrays['arr_0'], images[i : i + 1])


def test_without_a_chunk_size_any_number_of_devices_will_do(tmp_path, capsys):
  generators.export(tmp_path / 'model')
  out = tmp_path / 'out'
  flags = [f'--checkpoint={tmp_path / "model"}', f'--out={out}']
  assert main_lib.main(['sample', *flags, '--num_images=3']) == 0
  assert f'3 images are in {out}' in capsys.readouterr().out
  assert json.loads((out / 'job.json').read_text())['chunk_size'] == 104


@pytest.mark.slow
def test_classes_are_drawn_by_name_with_the_bytes_of_their_numbers(
    tmp_path, monkeypatch, capsys
):
  generators.export(tmp_path / 'model')
  class_names.write(tmp_path / 'model', [f'class {i}' for i in range(10)])
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])

  def draw(out, labels):
    flags = [f'--checkpoint={tmp_path / "model"}', f'--labels={labels}']
    more = ['--num_images=2', '--chunk_size=2', f'--out={tmp_path / out}']
    return main_lib.main(['sample', *flags, *more])

  assert draw('names', 'class 7,2') == draw('numbers', '7,2') == 0
  contents = generators.contents
  assert contents(tmp_path / 'names') == contents(tmp_path / 'numbers')
  restored = Sampler.restore(tmp_path / 'model', verbose=False)
  assert restored.class_names[7] == 'class 7'
  assert draw('none', 'clas 7') == 1
  assert "Did you mean 'class 7'" in capsys.readouterr().err
  assert not (tmp_path / 'none').exists()


def test_another_model_is_told_what_it_takes(tmp_path, capsys):
  generators.export(tmp_path / 'model')
  (tmp_path / 'prompts.txt').write_text('a cat\n')
  code = main_lib.main(
      [
          'sample',
          f'--checkpoint={tmp_path / "model"}',
          f'--prompts={tmp_path / "prompts.txt"}',
          f'--out={tmp_path / "out"}',
          '--chunk_size=8',
      ]
  )
  assert code == 1
  assert 'draws classes. Give --labels' in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()
