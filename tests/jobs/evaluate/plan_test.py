"""Which metrics are computed by default, and what the others lack."""

import pytest

from rq_jax.evaluation import dialects
from rq_jax.jobs.evaluate import plan


def titles(asked=None, names=('adm',), networks=(), **given):
  made = plan.make(
      asked,
      [dialects.DIALECTS[name] for name in names],
      plan.Given(networks=frozenset(networks), **given),
  )
  return [measure.title for measure in made.measures], made.left_out


def test_images_and_inception_give_the_metrics_of_each_dialect():
  found, left_out = titles(
      names=['adm', 'clean-fid'],
      networks=['inception'],
      has_reference_images=True,
  )
  assert found == [
      'fid (adm)', 'fid (clean-fid)', 'sfid (adm)', 'is (adm)',
      'precision_recall (adm)', 'kid (clean-fid)',
  ]  # fmt: skip
  assert left_out['clip_fid'] == '--clip is not given'
  assert 'pairs' in left_out['psnr']


def test_without_a_reference_only_the_inception_score_is_left():
  found, left_out = titles(networks=['inception'])
  assert found == ['is (adm)']
  assert left_out['fid (adm)'] == '--reference is not given'


def test_statistics_give_distances_and_rows_give_the_rest():
  held = frozenset({'pool'})
  found, left_out = titles(networks=['inception'], statistics=held)
  assert found == ['fid (adm)', 'is (adm)']
  assert 'do not hold' in left_out['precision_recall (adm)']
  held = frozenset({'pool', 'spatial', 'features'})
  found, _ = titles(networks=['inception'], statistics=held)
  assert found == [
      'fid (adm)', 'sfid (adm)', 'is (adm)', 'precision_recall (adm)'
  ]  # fmt: skip


def test_precision_of_torch_fidelity_needs_its_own_network():
  _, left_out = titles(
      names=['torch-fidelity'],
      networks=['inception'],
      has_reference_images=True,
  )
  reason = left_out['precision_recall (torch-fidelity)']
  assert reason == '--vgg16 is not given'


def test_dialects_that_resize_alike_read_the_same_arrays():
  made = plan.make(
      ['fid'],
      [dialects.DIALECTS[name] for name in ('adm', 'torch-fidelity', 'rq')],
      plan.Given(networks=frozenset({'inception'}), has_reference_images=True),
  )
  names = [measure.name for measure in made.measures]
  assert names[0] == names[1] != names[2]


def test_reconstructions_are_compared_in_pairs_by_default():
  pairs = dict(has_pairs=True, has_reference_images=True)
  found, _ = titles(networks=['lpips'], compares_pairs=True, **pairs)
  assert found == ['psnr', 'ssim', 'lpips']
  found, _ = titles(asked=['ssim'], **pairs)
  assert found == ['ssim']


@pytest.mark.parametrize(
    ('asked', 'names', 'networks', 'words'),
    [
        (['fids'], ['adm'], [], '--metrics=fids is unknown. Choose from fid'),
        (['sfid'], ['rq'], [], 'sfid is not possible: no dialect of --dial'),
        (['fid'], ['rq'], [], r'fid \(rq\) is not possible: --inception is'),
        (['psnr'], ['rq'], [], 'must have one image for each sample'),
        (['clip_score'], ['rq'], ['clip'], '--prompts is not given'),
        (None, ['rq'], [], 'nothing to compute.*--inception is not given'),
    ],
)
def test_what_is_not_possible_is_an_error(asked, names, networks, words):
  with pytest.raises(ValueError, match=words):
    titles(asked, names, networks)


@pytest.mark.parametrize(('largest', 'held'), [(100_000, 2), (100_001, 0)])
def test_metrics_that_hold_all_features_have_a_limit(largest, held):
  found, left_out = titles(
      names=['torch-fidelity'],
      networks=['inception', 'vgg16'],
      has_reference_images=True,
      largest=largest,
  )
  metrics = [title.partition(' ')[0] for title in found]
  assert len({'kid', 'precision_recall'} & {*metrics}) == held
  assert {'fid', 'is'} <= {*metrics}
  limited = [why for why in left_out.values() if '100,001 images' in why]
  assert len(limited) == 2 - held


def test_classes_that_do_not_fit_exclude_only_the_accuracy():
  given = dict(classes_problem='too many', has_reference_images=True)
  found, left_out = titles(networks=['classifier'], **given)
  assert found == ['classifier_fid']
  assert left_out['class_accuracy'] == 'too many'
  with pytest.raises(ValueError, match='class_accuracy.*: too many'):
    titles(['class_accuracy'], ['rq'], ['classifier'], **given)
