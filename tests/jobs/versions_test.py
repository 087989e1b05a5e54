"""Versions are those of the packages, installed or not."""

import importlib.metadata

import jax
import numpy as np
import pytest

import rq_jax
from rq_jax.jobs import versions


def test_versions_are_those_that_run(monkeypatch):
  assert versions.of('jax', 'numpy') == {
      'jax': jax.__version__,
      'numpy': np.__version__,
  }

  def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, 'version', missing)
  assert versions.of('rq_jax') == {'rq_jax': rq_jax.__version__}
  with pytest.raises(importlib.metadata.PackageNotFoundError):
    versions.of('jax')
