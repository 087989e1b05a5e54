"""Every configuration file builds, and the commands in its docstring parse."""

import functools
import math
import pathlib
import re

import jax
import pytest

from rq_jax import __main__ as main_lib
from rq_jax import config as config_lib
from rq_jax import tokenizer
from rq_jax.config import schema
from rq_jax.config.experiment import kind_of
from rq_jax.jobs.plan import estimate
from rq_jax.jobs.plan import table
from rq_jax.models import build
from rq_jax.training import inherit
from tests import shown_commands

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = sorted(
    str(file.relative_to(ROOT)) for file in (ROOT / 'configs').rglob('*.py')
)
# Arguments that these files accept after a colon.
ARGUMENTS = {
    'configs/imagenet256/rqtransformer.py': ('480m', '821m', '1.4b', '3.8b'),
    'configs/own/rqvae.py': ('32', '64', '128', '256'),
    'configs/own/rqtransformer.py': ('small', 'base', 'large'),
    'configs/text256/rqtransformer.py': ('32', '64'),
    'configs/studies/rqvae.py': (
        *(f'8x8x{depth}' for depth in (1, 2, 4, 8, 16)),
        '8x8x1-k65536',
        '8x8x1-k131072',
    ),
    'configs/benchmark/rqvae.py': (
        'f32-d4-k16384',
        'f16-d1-k1024',
        'f16-d1-k16384',
        'f8-d2-k2048',
    ),
    'configs/benchmark/rqtransformer.py': (
        'small-f32-d4-k16384',
        'medium-f16-d2-k16384',
        'large-f8-d2-k2048',
        'huge-f32-d4-k16384',
        'huge-f32-d1-k16384',
        'vqgan_large-f16-d1-k1024',
        'vqgan_huge-f16-d1-k16384',
    ),
}
CONFIGS = FILES + [
    f'{file}:{argument}'
    for file, arguments in ARGUMENTS.items()
    for argument in arguments
]
PUBLISHED = [p for p in CONFIGS if 'digits' not in p and 'own/' not in p]
# The published numbers of parameters; the text model is published as 3.9B.
SIZES = {
    'ffhq256/rqvae.py': 100_207_491,
    'lsun_church256/rqvae.py': 100_207_491,
    'lsun_cat256/rqvae.py': 100_207_491,
    'lsun_bedroom256/rqvae.py': 100_207_491,
    'imagenet256/rqvae.py': 100_207_491,
    'studies/rqvae.py:8x8x16': 100_207_491,
    'benchmark/rqvae.py': 100_207_491,
    'ffhq256/rqtransformer.py': 355_393_536,
    'lsun_church256/rqtransformer.py': 370_087_936,
    'lsun_cat256/rqtransformer.py': 612_061_184,
    'lsun_bedroom256/rqtransformer.py': 612_061_184,
    'imagenet256/rqtransformer.py:480m': 480_921_088,
    'imagenet256/rqtransformer.py:821m': 820_899_328,
    'imagenet256/rqtransformer.py': 1_387_529_728,
    'imagenet256/rqtransformer.py:1.4b': 1_387_529_728,
    'imagenet256/rqtransformer.py:3.8b': 3_822_488_064,
    'benchmark/rqtransformer.py:large-f32-d4-k16384': 820_899_328,
    'benchmark/rqtransformer.py': 1_387_529_728,
    'cc3m256/rqtransformer.py': 654_061_568,
    'text256/rqtransformer.py': 3_903_915_008,
    'text256/rqtransformer.py:64': 3_903_996_928,
}
TOKENIZERS = {
    'digits/rqtransformer.py': 'digits/rqvae.py',
    'own/rqtransformer.py': 'own/rqvae.py',
    'own/rqtransformer.py:large': 'own/rqvae.py:64',
    'ffhq256/rqtransformer.py': 'ffhq256/rqvae.py',
    'lsun_church256/rqtransformer.py': 'lsun_church256/rqvae.py',
    'lsun_cat256/rqtransformer.py': 'lsun_cat256/rqvae.py',
    'lsun_bedroom256/rqtransformer.py': 'lsun_bedroom256/rqvae.py',
    'imagenet256/rqtransformer.py': 'imagenet256/rqvae.py',
    'imagenet256/rqtransformer.py:3.8b': 'imagenet256/rqvae.py',
    'cc3m256/rqtransformer.py': 'imagenet256/rqvae.py',
    'text256/rqtransformer.py': 'imagenet256/rqvae.py',
    'benchmark/rqtransformer.py': 'benchmark/rqvae.py',
    'benchmark/rqtransformer.py:huge-f32-d1-k16384': (
        'benchmark/rqvae.py:f32-d1-k16384'
    ),
    'benchmark/rqtransformer.py:large-f8-d2-k2048': (
        'benchmark/rqvae.py:f8-d2-k2048'
    ),
    'benchmark/rqtransformer.py:vqgan_large-f16-d1-k1024': (
        'benchmark/rqvae.py:f16-d1-k1024'
    ),
}


# What configs/own/rqtransformer.py would take from a tokenizer and its data.
TAKEN = {
    'data.image_size': 64,
    'model.code_shape': (8, 8, 4),
    'model.codebook_size': 256,
    'model.embed_dim': 64,
    'model.num_classes': 6,
    'model.null_class': True,
    'loss.label_dropout': 0.1,
}


def load(path):
  """Loads the checked experiment of `FILE[:ARGUMENT]`, relative to the root."""
  taken = TAKEN if 'own/rqtransformer' in path else {}
  return config_lib.load(str(ROOT / path), overrides=taken, with_data=False)


@functools.cache
def shapes_of(model):
  """Sizes of a model's variables; cached, because experiments share models."""
  made = (
      build.rqtransformer_variables(model)
      if hasattr(model, 'depth_layers')
      else build.rqvae_variables(model)
  )
  return {name: sizes(tree) for name, tree in made.items()}


def sizes(tree):
  return [math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)]


def model_of(config):
  if config.stage == 1:
    return build.rqvae(config.model)
  return build.rqtransformer(config.model)


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS)
def test_model_builds(path):
  assert sum(shapes_of(model_of(load(path)))['params']) > 0


@pytest.mark.slow
@pytest.mark.parametrize('path', SIZES)
def test_size_is_the_published_one(path):
  shapes = shapes_of(model_of(load(f'configs/{path}')))
  assert sum(shapes['params']) == SIZES[path]


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        ('ffhq256/rqvae.py', 2048),
        ('imagenet256/rqvae.py', 16384),
        ('studies/rqvae.py:8x8x1-k131072', 131072),
    ],
)
def test_the_codebook_has_no_row_for_padding(path, words):
  shapes = shapes_of(model_of(load(f'configs/{path}')))
  # Codewords, their usage, and the sums of the vectors that chose them.
  assert sorted(shapes['codebook']) == [words, words * 256, words * 256]


@pytest.mark.parametrize('path', TOKENIZERS)
def test_prior_models_the_codes_of_its_tokenizer(path):
  stage1 = load(f'configs/{TOKENIZERS[path]}')
  restored = tokenizer.Tokenizer(model=build.rqvae(stage1.model), variables={})
  build.check_pair(load(f'configs/{path}').model, restored.model)


@pytest.mark.parametrize('path', PUBLISHED)
def test_the_paper_has_no_null_class_and_no_average(path):
  config = load(path)
  assert config.optimizer.ema_decay == 0
  if config.stage == 2:
    assert not config.model.null_class
    assert config.loss.label_dropout == 0


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('imagenet256/rqtransformer.py:2b', '480m, 821m, 1.4b, 3.8b'),
        ('own/rqvae.py:512', '32, 64, 128, 256'),
        ('own/rqtransformer.py:tiny', 'small, base, large'),
        ('text256/rqtransformer.py:77', '32, 64'),
        ('studies/rqvae.py:8x8', '8x8x4-k16384'),
        ('benchmark/rqtransformer.py:tiny-f32-d4-k16384', 'vqgan_huge'),
        ('benchmark/rqtransformer.py:vqgan_huge-f32-d4-k1', 'f16-d1-k16384'),
        ('ffhq256/rqvae.py:350m', 'takes no argument'),
    ],
)
def test_an_unknown_argument_is_refused_in_one_line(argument, message, capsys):
  words = ['train', f'--config={ROOT}/configs/{argument}', '--dry_run']
  assert main_lib.main(words) == 1
  error = capsys.readouterr().err
  assert error.startswith(('Error: The ', 'Error: This '))
  assert error.count('\n') == 1
  assert message in error


@pytest.fixture
def no_plans(monkeypatch):
  """Skips the plans of `--dry_run`, which `jobs/plan/table_test.py` tests.

  The tokenizers of configs/own, which plans read, do not exist here either.
  """
  monkeypatch.setattr(
      inherit,
      'complete',
      lambda raw, **_: (
          inherit.with_values(
              raw, {n: TAKEN[n] for n in schema.unset(kind_of(raw), raw)}
          ),
          '',
      ),
  )
  monkeypatch.setattr(estimate, 'make', lambda *_: None)
  monkeypatch.setattr(table, 'text', lambda _: '')


@pytest.mark.parametrize('file', FILES)
def test_docstring_shows_how_to_train_it(file, no_plans):
  shown = shown_commands.commands((ROOT / file).read_text())
  flag = re.compile(rf'--config={re.escape(file)}(:|$)')
  assert any(
      words[0] == 'train' and any(map(flag.match, words)) for words in shown
  )
  check_commands(shown)


def check_commands(shown):
  for name, *words in shown:
    if name == 'train':
      assert main_lib.main([name, *words, '--dry_run']) == 0
    else:
      # These commands have no dry run; this checks flags and the files in them.
      assert main_lib.main([name, *words, '--help']) == 0


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_recipes_read_folders_as_the_official_code_does(name):
  data = config_lib.load(str(ROOT / name), with_data=False).data
  assert not data.exif_rotation
  assert data.class_order == 'alphabetical'
