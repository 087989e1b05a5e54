"""Networks of a plan: shared by dialects, and only the arrays that are read."""

import jax
import numpy as np
import pytest

from rq_jax.checkpoints import stored
from rq_jax.evaluation import classifiers
from rq_jax.evaluation import clip
from rq_jax.evaluation import dialects
from rq_jax.evaluation import extractors
from rq_jax.evaluation import similarity
from rq_jax.jobs.evaluate import plan as plan_lib
from rq_jax.jobs.evaluate import restoring
from rq_jax.training.stage1 import perceptual
from tests import tiny
from tests.jobs.evaluate import fakes


def made_plan(asked, names, networks):
  return plan_lib.make(
      asked,
      [dialects.DIALECTS[name] for name in names],
      plan_lib.Given(
          networks=frozenset(networks),
          has_reference_images=True,
          has_pairs=True,
          has_prompts=True,
      ),
  )


@pytest.fixture
def restored(monkeypatch):
  """Records which dialects are restored, instead of restoring them."""
  seen = []

  def inception(dialect, path, mesh):
    seen.append((dialect, path, mesh.size))
    extractor = lambda images: {}  # noqa: E731 (needs an attribute)
    extractor.description = {'weights': 'x'}
    return extractor

  monkeypatch.setattr(extractors, 'inception', inception)
  return seen


def test_dialects_that_resize_alike_share_a_network(restored):
  plan = made_plan(
      ['fid', 'sfid', 'is'], ['torch-fidelity', 'adm', 'pytorch-fid', 'rq'],
      ['inception'],
  )  # fmt: skip
  found = restoring.restore(plan, {'inception': 'folder'}, frozenset())
  assert [rest for _, *rest in restored] == [
      ['folder', len(jax.local_devices())]
  ] * 2
  first, second = (dialect for dialect, _, _ in restored)
  assert first.spatial and first.inception_score.logits == 'unbiased_logits'
  assert not second.spatial and second.inception_score.logits == 'logits'
  widths = [network.widths for network in found.of_samples]
  assert widths == [
      {'pool': 2048, 'spatial': 2023, 'logits': 1008},
      {'pool': 2048, 'logits': 1008},
  ]
  widths = [network.widths for network in found.of_reference]
  assert widths == [{'pool': 2048, 'spatial': 2023}, {'pool': 2048}]


def test_statistics_from_a_file_need_no_features_of_the_reference(restored):
  plan = made_plan(['fid', 'is'], ['adm'], ['inception'])
  found = restoring.restore(
      plan, {'inception': 'folder'}, frozenset({'fid (adm)'})
  )
  assert restored and not found.of_reference


@pytest.mark.parametrize('batch', [2, 16])  # It only bounds the memory.
def test_pairs_are_compared_by_pixels_and_by_lpips(batch, monkeypatch):
  monkeypatch.setattr(restoring, '_LPIPS_BATCH', batch)
  model, variables = tiny.perceptual_stand_in()
  monkeypatch.setattr(perceptual, 'abstract', lambda **_: (model, variables))
  monkeypatch.setattr(
      stored, 'restore_variables', lambda *_, **__: (variables, '')
  )
  plan = made_plan(['psnr', 'ssim', 'lpips'], ['adm'], ['lpips'])
  found = restoring.restore(plan, {'lpips': 'folder'}, frozenset())
  assert not found.of_reference
  images, others = fakes.images(3), fakes.images(3, 1)
  others[2] = images[2]
  arrays = {}
  for network in found.of_samples:
    arrays |= network(images, others)
  np.testing.assert_allclose(
      arrays['pixels/ssim'][:, 0], similarity.ssim(images, others), rtol=1e-6
  )
  distance = arrays['lpips/distance']
  assert distance.shape == (3, 1)
  pair = [x.astype(np.float32) / 127.5 - 1 for x in (images, others)]
  expected = model.apply(variables, *pair)
  np.testing.assert_allclose(distance[:, 0], expected, rtol=1e-4)
  assert distance[2] == 0


def test_a_folder_without_lpips_is_refused(tmp_path):
  plan = made_plan(['lpips'], ['adm'], ['lpips'])
  with pytest.raises(ValueError, match='--lpips=.*no perceptual network'):
    restoring.restore(plan, {'lpips': str(tmp_path)}, frozenset())


def test_clip_and_a_classifier_are_kept_for_texts_and_classes(monkeypatch):
  class Clip:
    fingerprint = 'c'

    class model:  # noqa: N801 (stands in for a module)
      embed_dim, image_size = 2, 8

    def image(self, images):
      return images[:, 0, 0, :2].astype(np.float32)

  class Classifier:
    fingerprint = 'k'
    description = {'preprocessing': 'p'}
    widths = {'pool': 3, 'logits': 2}

    def __call__(self, images):
      return {'pool': images[:, 0, 0], 'logits': images[:, 0, :2, 0]}

  monkeypatch.setattr(clip, 'restore', lambda *_: Clip())
  monkeypatch.setattr(classifiers, 'restore', lambda *_: Classifier())
  plan = made_plan(
      ['clip_score', 'class_accuracy'], ['adm'], ['clip', 'classifier']
  )
  paths = {'clip': 'x', 'classifier': 'y'}
  found = restoring.restore(plan, paths, frozenset())
  assert isinstance(found.clip, Clip) and not found.of_reference
  images = fakes.images(2)
  arrays = {}
  for network in found.of_samples:
    arrays |= network(images)
  assert arrays.keys() == {'clip/image', 'classifier/logits'}
  np.testing.assert_array_equal(
      arrays['classifier/logits'], images[:, 0, :2, 0]
  )
