"""The temperature 'auto': measured once, stored, and accepted again."""

import numpy as np
import pytest

from rq_jax.checkpoints import stored
from rq_jax.data import image_files
from rq_jax.data import sources
from rq_jax.models import soft_targets
from rq_jax.training import run
from rq_jax.training import temperature
from tests import tiny
from tests.training import begun_runs


@pytest.fixture(autouse=True)
def small(monkeypatch):
  monkeypatch.setattr(soft_targets, '_EXAMPLES', 6)


def auto(**changes):
  return tiny.stage2_config(loss=dict(temperature='auto'), **changes)


def examples(count=8):
  images = np.asarray((tiny.images(count) + 1) * 127.5).round()
  return [{'image': image.astype(np.uint8)} for image in images]


def test_the_rule_is_applied_to_features_of_the_training_data(tmp_path, capsys):
  tokenizer, data = tiny.untrained_tokenizer(), examples()
  config = temperature.settle(auto(), tokenizer, data, tmp_path)
  chosen = np.stack([data[i]['image'] for i in soft_targets.chosen(8)])
  vectors, books = soft_targets.of_tokenizer(
      tokenizer.model, tokenizer.variables, tokenizer.features(chosen)
  )
  expected = soft_targets.suggest_temperature(vectors, books)
  assert config.loss.temperature == pytest.approx(expected, rel=2e-3)
  assert f'config.loss.temperature={config.loss.temperature:g}' in (
      capsys.readouterr().out
  )


class Broken(list):
  """Examples, the first of which cannot be read."""

  def __getitem__(self, index):
    if index == 0:
      raise image_files.BrokenImageError('0.jpg is damaged.')
    return super().__getitem__(index)


def test_a_broken_image_is_replaced_only_if_it_is_to_be_skipped(tmp_path):
  data, tokenizer = examples(), tiny.untrained_tokenizer()
  assert soft_targets.chosen(8)[0] == 0
  with pytest.raises(image_files.BrokenImageError, match='0.jpg is damaged'):
    temperature.settle(auto(), tokenizer, Broken(data), tmp_path)
  skipping = auto(data=dict(on_error='skip'))
  found = temperature.settle(skipping, tokenizer, Broken(data), tmp_path)
  expected = temperature.settle(
      auto(), tokenizer, [data[1], *data[1:]], tmp_path
  )
  assert found.loss == expected.loss


def test_crops_and_flips_of_training_are_not_measured(tmp_path):
  tokenizer, data = tiny.untrained_tokenizer(), examples()
  flipped = auto(data=dict(crop='random_resized', flip=True))
  found = temperature.settle(flipped, tokenizer, data, tmp_path)
  assert (
      found.loss == temperature.settle(auto(), tokenizer, data, tmp_path).loss
  )


def test_a_number_stays_and_reads_no_image(tmp_path):
  config = tiny.stage2_config()
  unreadable = Broken(examples())
  found = temperature.settle(
      config, tiny.untrained_tokenizer(), unreadable, tmp_path
  )
  assert found == config


def test_a_resumed_run_takes_the_stored_number_for_auto(tmp_path):
  stored.write_config(tmp_path, tiny.stage2_config(loss=dict(temperature=3.25)))
  for config, expected in (
      (auto(), 3.25),
      # `Workdir.prepare` refuses another number later.
      (tiny.stage2_config(loss=dict(temperature=2.5)), 2.5),
  ):
    found = temperature.settle(
        config, tiny.untrained_tokenizer(), Broken(examples()), tmp_path
    )
    assert found.loss.temperature == expected


def test_a_run_stores_the_number_and_resumes_with_auto(tmp_path, monkeypatch):
  monkeypatch.setattr(run.loop, 'run', lambda *_, **__: {})
  config = auto(tokenizer=str(begun_runs.begun(1)))
  run.train(config, tmp_path / 'run')
  first = stored.read_config(tmp_path / 'run').loss.temperature
  assert isinstance(first, float) and first > 0
  run.train(config, tmp_path / 'run')
  assert stored.read_config(tmp_path / 'run').loss.temperature == first


def test_one_hot_targets_are_warned_of(tmp_path, capsys):
  tokenizer = tiny.untrained_tokenizer()
  cache = begun_runs.write_cache(tmp_path / 'c')
  config = tiny.stage2_config(
      data=dict(source='features', path=str(cache)),
      loss=dict(temperature=1e-9),
  )
  source = sources.open_source(config.data, 'train')
  temperature.settle(config, tokenizer, source, tmp_path / 'run')
  assert 'Warning: The soft targets are nearly one-hot' in (
      capsys.readouterr().out
  )
