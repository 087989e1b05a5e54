"""job.json is written first, and jobs with other bytes are refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import rq_jax
from rq_jax import hashes
from rq_jax.checkpoints import inference_copy
from rq_jax.distributed import partitioning
from rq_jax.distributed import processes
from rq_jax.jobs import versions
from rq_jax.sampling import Sampling
from tests.jobs import generators
from tests.sampling import models


@pytest.fixture(scope='module')
def sampler():
  return generators.sampler()


@pytest.fixture
def out(sampler, tmp_path):
  """The folder of a finished job with two images."""
  run(tmp_path, sampler)
  return tmp_path


def run(out, sampler, **fields):
  fields = dict(kind='labels', values=[4, 2], num_images=2) | fields
  return generators.run(out, sampler, **fields)


def test_it_tells_all_that_decides_the_bytes(out, sampler):
  found = json.loads((out / 'job.json').read_text())
  assert len(found.pop('hash')) == 32
  assert found == {
      'checkpoint': 'x',
      'step': 3,
      'ema': True,
      'dtype': 'float32',
      'model': {
          'prior': inference_copy.fingerprint(sampler.prior_variables),
          'tokenizer': sampler.tokenizer.fingerprint,
      },
      'seed': 5,
      'num_images': 2,
      'conditions': {'kind': 'labels', 'in_turn': '4,2'},
      'sampling': dataclasses.asdict(Sampling()),
      'chunk_size': 3,
      'format': 'png',
      'shard_size': None,
      'devices': '1 x cpu',
      'versions': {'jax': jax.__version__, 'rq_jax': rq_jax.__version__},
  }


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (dict(seed=6), 'seed=5, but this job has seed=6'),
        (dict(num_images=3), 'num_images=2, but this job has num_images=3'),
        (dict(values=[4]), r'conditions.in_turn="4,2".*in_turn="4"'),
        (dict(chunk_size=2), 'chunk_size=3, but this job has chunk_size=2'),
        (dict(format='npz'), 'format="png", but this job has format="npz"'),
        (
            dict(sampling=Sampling(top_p=[0.5, 1])),
            r'sampling.top_p=1.0, but this job has sampling.top_p=\[0.5, 1\]',
        ),
        (dict(origin=generators.ORIGIN | {'step': 4}), 'step=3.*step=4'),
        (dict(origin=generators.ORIGIN | {'ema': False}), 'ema=true.*ema=f'),
        (
            dict(origin=generators.ORIGIN | {'dtype': 'bfloat16'}),
            'dtype="float32".*dtype="bfloat16"',
        ),
    ],
)
def test_another_job_is_refused_by_name(fields, words, out, sampler):
  before = generators.contents(out)
  with pytest.raises(ValueError, match=words) as error:
    run(out, sampler, **fields)
  assert str(out / 'job.json') in str(error.value)
  assert 'Choose another --out, or give the same values.' in str(error.value)
  assert generators.contents(out) == before


def test_another_model_is_refused(out, sampler):
  other = models.random_variables(sampler.prior, seed=1)
  with pytest.raises(ValueError, match='model.prior='):
    run(out, dataclasses.replace(sampler, prior_variables=other))
  other = models.random_tokenizer(seed=1)
  with pytest.raises(ValueError, match='model.tokenizer='):
    run(out, dataclasses.replace(sampler, tokenizer=other))


def test_another_size_of_shards_is_refused(sampler, tmp_path):
  run(tmp_path, sampler, format='shards')
  with pytest.raises(ValueError, match='shard_size=2, .* shard_size=1'):
    run(tmp_path, sampler, format='shards', shard_size=1)


@pytest.mark.parametrize('name', ['jax', 'rq_jax'])
def test_another_version_is_refused(name, out, sampler, monkeypatch):
  found = versions.of
  monkeypatch.setattr(
      versions, 'of', lambda *names: found(*names) | {name: '99'}
  )
  with pytest.raises(ValueError, match=f'versions.{name}=.*="99"'):
    run(out, sampler)


def test_another_process_that_was_told_other_things_is_refused(
    sampler, tmp_path, monkeypatch
):
  def first_opens(_):
    monkeypatch.undo()
    run(tmp_path, sampler)
    monkeypatch.setattr(jax, 'process_index', lambda: 1)

  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  monkeypatch.setattr(processes, 'only_first', first_opens)
  with pytest.raises(ValueError, match='seed=5, but this job has seed=6'):
    run(tmp_path, sampler, seed=6)


def test_a_damaged_description_is_named(out, sampler):
  for text in ('[]', '{"seed": 5'):
    (out / 'job.json').write_text(text)
    with pytest.raises(ValueError, match=r'job\.json is damaged'):
      run(out, sampler)


def test_a_field_that_this_version_does_not_know_is_refused(out, sampler):
  file = out / 'job.json'
  found = json.loads(file.read_text()) | {'colour': 'red'}
  del found['hash']
  file.write_text(json.dumps(hashes.seal(found)))
  with pytest.raises(
      ValueError, match='colour="red", but this job has colour=null'
  ):
    run(out, sampler)


def test_a_job_goes_on_with_other_devices_and_says_so(out, sampler, capsys):
  run(out / 'more', sampler, chunk_size=8)
  mesh = partitioning.make_mesh(dict(data=4, model=2))
  assert 'already' in run(
      out / 'more', dataclasses.replace(sampler, mesh=mesh), chunk_size=8
  )
  note = (
      'Note: this job was begun on 1 x cpu and continues on 8 x cpu,'
      ' model_parallel=2.'
  )
  assert note in capsys.readouterr().out


def test_the_model_may_have_moved_and_shards_mean_nothing_to_png(out, sampler):
  moved = generators.ORIGIN | {'checkpoint': 'elsewhere'}
  assert 'already' in run(out, sampler, origin=moved, shard_size=77)


@pytest.mark.parametrize(
    ('tokens', 'words'),
    [([[1, 2, 4]], 'conditions.sha256='), ([[1, 2, 3]] * 2, 'in_turn=1.*=2')],
)
def test_other_texts_are_refused(tokens, words, tmp_path):
  made = generators.sampler(**generators.TEXTS)
  run(tmp_path, made, kind='tokens', values=np.array([[1, 2, 3]]))
  with pytest.raises(ValueError, match=words):
    run(tmp_path, made, kind='tokens', values=np.array(tokens))


@pytest.mark.parametrize(
    'name', ['000001.png', 'x.npz', 'parts', 'labels.json']
)
def test_files_of_somebody_else_are_left_alone(name, sampler, tmp_path):
  (tmp_path / name).mkdir()
  with pytest.raises(ValueError, match=f'holds {name}, but no job.json'):
    run(tmp_path, sampler)
  assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_folder_with_other_files_will_do(sampler, tmp_path):
  (tmp_path / 'slurm.log').write_text('')
  (tmp_path / 'job.json.partial').write_text('torn')
  run(tmp_path, sampler)
  assert (tmp_path / '000001.png').exists()
  assert not (tmp_path / 'job.json.partial').exists()


def test_a_folder_that_cannot_be_made_is_named(sampler, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='--out=.* cannot be written: Not a dir'):
    run(tmp_path / 'file' / 'out', sampler)
