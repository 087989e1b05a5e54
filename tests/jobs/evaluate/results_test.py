"""What an evaluation computes: metrics, statistics to save, and refusals."""

import json

import numpy as np
from PIL import Image
import pytest

from rq_jax.evaluation import clip_score
from rq_jax.evaluation import inception_score
from rq_jax.evaluation import references
from rq_jax.jobs.evaluate import finishing
from rq_jax.jobs.evaluate import looking
from rq_jax.jobs.evaluate import networks
from rq_jax.jobs.evaluate import opening
from rq_jax.jobs.evaluate import plan as plan_lib
from rq_jax.jobs.evaluate import request as request_lib
from rq_jax.jobs.evaluate import restoring
from tests.jobs.evaluate import fakes

pytestmark = pytest.mark.usefixtures('fake_networks')


def test_saved_statistics_give_the_same_distance(paths, tmp_path):
  first = fakes.evaluate(
      tmp_path / 'images',
      *paths,
      metrics=['fid'],
      save_reference=str(tmp_path / 'new' / 'saved.npz'),
  )
  second = fakes.evaluate(
      tmp_path / 'statistics',
      paths[0],
      str(tmp_path / 'new' / 'saved.npz'),
      metrics=['fid'],
  )
  first, second = (fakes.by_metric(found)['fid'] for found in (first, second))
  assert first['value'] == second['value']
  assert second['n_reference'] == 90
  assert second['fingerprint']['reference']['dialect'] == 'rq'
  saved = references.read(tmp_path / 'new' / 'saved.npz')
  assert saved.features is None  # No metric needs them.


@pytest.mark.parametrize(
    ('dialect', 'metric', 'name'),
    [('clean-fid', 'kid', 'kid'), ('adm', 'precision_recall', 'recall')],
)
def test_saved_features_give_the_same_value(
    dialect, metric, name, paths, tmp_path
):
  saved = str(tmp_path / 'saved.npz')
  asked = dict(dialects=[dialect], metrics=['fid', metric])
  first = fakes.evaluate(
      tmp_path / 'images', *paths, save_reference=saved, **asked
  )
  np.testing.assert_array_equal(
      references.read(saved).features,
      fakes.colours(fakes.images(90, 1))['pool'],
  )
  second = fakes.evaluate(tmp_path / 'statistics', paths[0], saved, **asked)
  first, second = (fakes.by_metric(found)[name] for found in (first, second))
  assert first['value'] == second['value']
  assert second['n_reference'] == 90


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (dict(metrics=['is']), 'Add fid to --metrics'),
        (dict(metrics=['sfid'], dialects=['adm']), 'Add fid to --metrics'),
        (dict(dialects=['adm', 'clean-fid']), 'in one dialect'),
    ],
)
def test_statistics_to_save_need_fid_in_one_dialect(
    fields, words, paths, tmp_path
):
  with pytest.raises(ValueError, match=words):
    fakes.evaluate(
        tmp_path / 'out',
        *paths,
        save_reference=str(tmp_path / 'saved.npz'),
        **fields,
    )
  assert not (tmp_path / 'out').exists()


def test_a_dialect_that_is_named_twice_is_computed_once(paths, tmp_path):
  found = fakes.evaluate(tmp_path, *paths, dialects=['rq', 'rq'])
  metrics = [result['metric'] for result in found['results']]
  assert len(metrics) == len(set(metrics))


@pytest.mark.parametrize('kind', ['files', 'folder'])
def test_pairs_of_different_sizes_are_refused_first(kind, tmp_path):
  samples = fakes.write(tmp_path / 'a.npz', 2)
  reference = tmp_path / 'b'
  reference.mkdir()
  if kind == 'files':
    np.savez(reference / 'b.npz', fakes.images(2, size=20))
  else:
    for i, pixels in enumerate(fakes.images(2, size=20)):
      Image.fromarray(pixels).save(reference / f'{i}.png')
  with pytest.raises(ValueError, match='16x16 pixels, .* 20x20. Set --image_'):
    fakes.evaluate(
        tmp_path / 'out', samples, str(reference), metrics=['psnr', 'ssim']
    )
  assert not (tmp_path / 'out').exists()


def test_only_the_first_samples_are_searched_for_copies(
    paths, tmp_path, monkeypatch
):
  monkeypatch.setattr(looking, '_SEARCHED', 20)
  found = fakes.evaluate(tmp_path, *paths)
  assert found['nearest']['searched'] == 20


def test_subsets_of_kid_have_at_most_the_number_of_images(paths, tmp_path):
  found = fakes.evaluate(
      tmp_path, *paths, metrics=['kid'], dialects=['clean-fid']
  )
  result = fakes.by_metric(found)['kid']
  assert np.isfinite(result['value']) and result['n_reference'] == 90


def test_the_deviation_of_the_inception_score_is_that_of_the_tool(
    paths, tmp_path
):
  found = fakes.evaluate(
      tmp_path, paths[0], metrics=['is'], dialects=['rq', 'torch-fidelity']
  )
  ours, theirs = (result['deviation'] for result in found['results'])
  score = inception_score.InceptionScore(100, splits=10, seed=2020)
  logits = fakes.colours(fakes.images(100))['logits']
  score.add(logits)
  np.testing.assert_allclose(theirs, score.score(ddof=0)[1])
  assert ours != theirs


def test_prompts_are_used_in_turn(paths, tmp_path, monkeypatch):
  class Clip:

    def text(self, prompts):
      assert prompts == ['a', 'b']
      return np.array([[1, 0, 0], [0, 0, 1]], np.float32)

  network = networks.Network(
      name='clip',
      widths={'image': 3},
      extract=lambda pixels: {'image': fakes.colours(pixels)['pool']},
      described={'network': 'fake', 'weights': 'none'},
  )
  monkeypatch.setattr(
      restoring,
      'restore',
      lambda *_: restoring.Restored([network], [], clip=Clip()),
  )
  found = fakes.evaluate(
      tmp_path,
      paths[0],
      networks={'clip': 'unused'},
      prompts=['a', 'b'],
      metrics=['clip_score'],
  )
  texts = np.tile(Clip().text(['a', 'b']), (50, 1))
  rows = fakes.colours(fakes.images(100))['pool']
  np.testing.assert_allclose(
      fakes.by_metric(found)['clip_score']['value'],
      clip_score.cosines(rows, texts).mean(),
  )


def test_results_depend_on_the_contents_of_the_file_of_classes(paths, tmp_path):
  file = tmp_path / 'classes.json'
  work = finishing.Finish(
      request=request_lib.Request(
          out='',
          samples=opening.open_images(paths[0], flag='--samples'),
          networks={},
          dialects=[],
          classes=str(file),
          chunk_size=1,
      ),
      plan=plan_lib.Plan(measures=[], left_out={}),
      restored=restoring.Restored([], [], clip=None),
  )
  for contents in ({'0': [1]}, {'0': [2]}):
    file.write_text(json.dumps(contents))
    assert work.asked()['classes'] == contents


def test_one_image_gives_a_sentence_for_each_metric(tmp_path, paths):
  one = fakes.write(tmp_path / 'one.npz', 1)
  with pytest.raises(ValueError, match='at least 2 images.*splits'):
    fakes.evaluate(tmp_path / 'out', one, paths[1])


def test_few_images_get_a_note(tmp_path, paths):
  few = fakes.write(tmp_path / 'few.npz', 3)
  found = fakes.evaluate(tmp_path / 'out', few, paths[1])
  assert '3 images are fewer than' in fakes.by_metric(found)['fid']['note']
  assert '3 images cannot be divided' in found['left_out']['is (rq)']
