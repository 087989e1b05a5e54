"""The settings of dialects, and what is said if one lacks a metric."""

import dataclasses

import pytest

from rq_jax.evaluation import dialects
from rq_jax.evaluation import resizing

# Metrics that the tools define, as their documents list them.
DEFINED = {
    'adm': ('fid', 'sfid', 'is', 'precision_recall'),
    'pytorch-fid': ('fid',),
    'torch-fidelity': ('fid', 'is', 'precision_recall', 'kid'),
    'clean-fid': ('fid', 'kid'),
    'rq': ('fid', 'is'),
}


def test_each_dialect_defines_the_metrics_of_its_tool():
  found = {name: d.metrics for name, d in dialects.DIALECTS.items()}
  assert found == DEFINED
  assert all(name == d.name for name, d in dialects.DIALECTS.items())


def test_a_metric_that_a_dialect_lacks_is_refused_with_those_that_have_it():
  with pytest.raises(ValueError, match='do: adm, torch-fidelity, rq. Change'):
    dialects.require(dialects.DIALECTS['clean-fid'], 'is')
  with pytest.raises(ValueError, match='psnr is in no dialect'):
    dialects.require(dialects.DIALECTS['adm'], 'psnr')
  for name, metrics in DEFINED.items():
    for metric in metrics:
      dialects.require(dialects.find(name), metric)


def test_an_unknown_dialect_is_refused_with_the_known_ones():
  with pytest.raises(ValueError, match='--dialect=FID .* adm, pytorch-fid'):
    dialects.find('FID')


def test_settings_name_what_exists():
  for dialect in dialects.DIALECTS.values():
    assert dialect.resize in resizing.METHODS
    assert dialect.scale in resizing.SCALES
    assert set(dialect.checked_against) == {'pixels', 'features', 'statistics'}


def test_references_of_tools_with_equal_pixels_fit_each_other():
  names = {
      frozenset(
          o.name for o in dialects.DIALECTS.values() if d.shares_features(o)
      )
      for d in dialects.DIALECTS.values()
  }
  assert names == {
      frozenset({'rq', 'pytorch-fid'}),
      frozenset({'adm', 'torch-fidelity'}),
      frozenset({'clean-fid'}),
  }


def test_the_inception_score_is_split_as_in_each_tool():
  """Facts of the tools' sources, apart from the table."""
  found = {
      name: dataclasses.astuple(d.inception_score)
      for name, d in dialects.DIALECTS.items()
      if d.inception_score
  }
  assert found == {
      'adm': ('unbiased_logits', None, 5000, None, None),
      'torch-fidelity': ('unbiased_logits', 10, None, 2020, 0),
      'rq': ('logits', 10, None, 0, 1),
  }


def test_settings_are_those_in_the_sources_of_the_tools():
  """Copied from the sources; the seeds of clean-fid and rq are our own."""
  scores = {
      name: dataclasses.astuple(d.inception_score)
      for name, d in dialects.DIALECTS.items()
      if d.inception_score
  }
  assert scores == {
      'adm': ('unbiased_logits', None, 5000, None, None),
      'torch-fidelity': ('unbiased_logits', 10, None, 2020, 0),
      'rq': ('logits', 10, None, 0, 1),
  }
  neighbours = {
      name: dataclasses.astuple(d.precision_recall)
      for name, d in dialects.DIALECTS.items()
      if d.precision_recall
  }
  assert neighbours == {
      'adm': ('inception', 'pool', 3, True),
      'torch-fidelity': ('vgg16', 'fc2', 3, False),
  }
  kernels = {
      name: dataclasses.astuple(d.kernel_distance)
      for name, d in dialects.DIALECTS.items()
      if d.kernel_distance
  }
  assert kernels == {
      'torch-fidelity': (100, 1000, 2020, False),
      'clean-fid': (100, 1000, 0, True),
  }
