"""Descriptions beside weights are found, read as data, or refused."""

import os

import pytest

from rq_jax.conversion.configs import beside


def test_a_config_is_read_with_its_types(tmp_path):
  path = tmp_path / 'config.yaml'
  path.write_text('arch: {type: rq-vae, code_shape: [8, 8, 4], bias: 0.25}')
  arch = {'type': 'rq-vae', 'code_shape': [8, 8, 4], 'bias': 0.25}
  assert beside.read_yaml(path) == {'arch': arch}


ALIASES = 'a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('!!python/object/apply:os.system ["touch executed"]', 'constructor'),
        ('a: !!python/name:os.system', 'constructor'),
        ('a: !!python/object/new:os.system [touch executed]', 'constructor'),
        (ALIASES, 'refers back'),
        ('a: &a {b: *a}', 'refers back'),
        ('[' * 100 + ']' * 100, 'nested more than 32'),
        ('[' * 100_000, 'nested more than 32'),
        ('a: ' + '1:1' * 3000, 'more than 4096 characters'),
        ('a: [', 'parsing'),
        ('a: 2024-99-99', 'month'),
        ('a: !!timestamp x', 'not a config'),
        ('a: !!int ""', 'not a config'),
        ('\0', 'not a config'),
        ('- a', 'no dict'),
        ('', 'no dict'),
        ('#' * (2**20 + 1), 'more than 1048576 bytes'),
    ],
)
def test_a_hostile_config_is_refused_and_executes_nothing(
    tmp_path, monkeypatch, text, message
):
  monkeypatch.chdir(tmp_path)
  path = tmp_path / 'config.yaml'
  path.write_text(text)
  with pytest.raises(ValueError, match=message) as refusal:
    beside.read_yaml(path)
  assert type(refusal.value) is ValueError
  assert str(refusal.value).startswith(str(path))
  assert os.listdir(tmp_path) == ['config.yaml']
