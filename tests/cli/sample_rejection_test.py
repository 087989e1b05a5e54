"""Flags of `sample` that choose among draws, or replace released options."""

import json

import jax
import pytest

from rq_jax import __main__ as main_lib
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import sampling_options
from rq_jax.evaluation import classifiers
from tests.jobs import generators
from tests.jobs import rejection


@pytest.fixture
def model(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
  generators.export(tmp_path / 'model')
  class_names.write(tmp_path / 'model', [f'class {i}' for i in range(10)])
  return tmp_path / 'model'


@pytest.fixture
def restored(monkeypatch):
  """The paths of classifiers that are restored."""
  paths = []

  def restore(path, mesh):
    assert mesh is None
    paths.append(path)
    return rejection.Classifier()

  monkeypatch.setattr(classifiers, 'restore', restore)
  return paths


def draw(model, out, *argv):
  flags = [f'--checkpoint={model}', f'--out={out}', '--chunk_size=3']
  return main_lib.main(['sample', *flags, *argv])


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['--accept=0.5'], '--classifier must be given'),
        (['--classifier=x'], '--classifier=x has no meaning here'),
        (['--classifier_classes=x'], '--classifier_classes=x has no meaning'),
        (['--accept=0', '--classifier=x'], '--accept=0.0 must be in (0, 1]'),
        (['--accept=5', '--classifier=x'], '--accept=5.0 must be in (0, 1]'),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_restored(
    argv, words, capsys
):
  assert main_lib.main(['sample', '--checkpoint=x', '--out=y', *argv]) == 1
  assert words in capsys.readouterr().err


def test_flags_reach_the_job(model, restored, tmp_path, capsys):
  out, classes = tmp_path / 'out', tmp_path / 'classes.json'
  # Class i of the generator has two classes of the classifier.
  groups = tuple((n, (n + 1) % 10) for n in range(10))
  classes.write_text(
      json.dumps({f'class {i}': g for i, g in enumerate(groups)})
  )
  argv = ['--accept=0.25', '--classifier=lite0', '--labels=class 4,2']
  argv += [f'--classifier_classes={classes}', '--num_images=7', '--seed=5']
  assert draw(model, out, *argv, '--format=npz') == 0
  assert restored == ['lite0']
  assert 'Accepted 7 of 28 draws' in capsys.readouterr().out
  rejection.run(tmp_path / 'same', classes=groups, format='npz')
  for name in ('accepted.json', 'samples.npz'):
    same = (tmp_path / 'same' / name).read_bytes()
    assert (out / name).read_bytes() == same


def test_a_model_without_classes_needs_no_classifier(
    restored, tmp_path, capsys
):
  generators.export(tmp_path / 'model', **generators.NOTHING)
  argv = ['--accept=0.25', '--classifier=x', '--chunk_size=8']
  assert draw(tmp_path / 'model', tmp_path / 'out', *argv) == 1
  assert 'this model is unconditional' in capsys.readouterr().err
  assert not restored and not (tmp_path / 'out').exists()


def test_flags_replace_single_options_of_the_release(model, tmp_path, capsys):
  sampling_options.write(model, {'temperature': 0.8, 'top_k': 2})
  argv = ['--num_images=2', '--top_k=5', '--guidance=2']
  assert draw(model, tmp_path / 'out', *argv) == 0
  assert 'samples with temperature=0.8, top_k=2' in capsys.readouterr().out
  manifest = json.loads((tmp_path / 'out' / 'job.json').read_text())
  assert manifest['sampling'] == {
      'temperature': 0.8,
      'top_k': 5,
      'top_p': 1.0,
      'guidance': 2.0,
      'guidance_schedule': 'constant',
  }
