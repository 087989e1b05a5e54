"""Fields of stage 2 that its tokenizer and its data decide."""

import pytest

from rq_jax import __main__ as main_lib
from rq_jax import config as config_lib
from rq_jax.checkpoints import stored
from rq_jax.training import inherit
from tests import tiny
from tests.training import begun_runs

OWN = 'configs/own/rqtransformer.py:small'


@pytest.fixture
def tokenizer(tmp_path):
  """A folder that holds only the description of a tokenizer."""
  (tmp_path / 'rqvae').mkdir()
  stored.write_config(tmp_path / 'rqvae', tiny.stage1_config())
  return str(tmp_path / 'rqvae')


def load(tmp_path, tokenizer, *, classes=3, **overrides):
  cache = begun_runs.write_cache(tmp_path / 'c', train=classes, test=classes)
  paths = {'tokenizer': tokenizer, 'data.path': str(cache)}
  changes = {name.replace('__', '.'): x for name, x in overrides.items()}
  return inherit.load(OWN, overrides=paths | changes)


def test_the_tokenizer_decides_the_codes(tmp_path, tokenizer):
  config = load(tmp_path, tokenizer)
  assert config.model.code_shape == tiny.CODE_SHAPE
  assert config.model.codebook_size == tiny.WORDS
  assert config.model.embed_dim == 64  # 4x4 features of 4 channels.
  assert config.data.image_size == tiny.SIZE


def test_the_data_decides_the_classes(tmp_path, tokenizer):
  config = load(tmp_path, tokenizer)
  assert config.model.num_classes == 3
  assert config.model.null_class
  assert config.loss.label_dropout == 0.1


def test_data_with_one_class_trains_an_unconditional_model(tmp_path, tokenizer):
  config = load(tmp_path, tokenizer, classes=1)
  assert config.model.num_classes == 0
  assert not config.model.null_class
  assert config.loss.label_dropout == 0


def test_a_model_of_texts_has_no_classes_and_is_conditional(tokenizer):
  raw = config_lib.to_dict(tiny.stage2_config(tokenizer=tokenizer))
  raw['model'] |= dict(text_vocab_size=9, num_classes=None, null_class=None)
  raw['loss']['label_dropout'] = None
  raw['data'] |= dict(source='image_folder', path='/nowhere')  # Not read.
  completed, _ = inherit.complete(raw)
  assert completed['model']['num_classes'] == 0
  assert completed['model']['null_class']
  assert completed['loss']['label_dropout'] == 0.1


def test_fields_that_are_set_stay(tmp_path, tokenizer):
  config = load(
      tmp_path,
      tokenizer,
      model__num_classes=7,
      model__null_class=False,
      model__codebook_size=99,
  )
  assert config.model.num_classes == 7
  assert config.model.codebook_size == 99  # The run refuses it.
  assert not config.model.null_class
  assert config.loss.label_dropout == 0


def test_experiments_without_unset_fields_need_no_tokenizer():
  raw = config_lib.to_dict(tiny.stage2_config(tokenizer='/nowhere'))
  assert inherit.complete(raw) == (raw, '')
  raw = config_lib.to_dict(tiny.stage1_config())
  assert inherit.complete(raw) == (raw, '')


def test_a_sentence_lists_what_was_taken(tmp_path, tokenizer):
  raw = config_lib.to_dict(tiny.stage2_config(tokenizer=tokenizer))
  raw['model']['codebook_size'] = None
  raw['model']['num_classes'] = None
  _, told = inherit.complete(raw)
  assert told == (
      'Set config.model.codebook_size=12 from the tokenizer and'
      ' config.model.num_classes=10 from the data.'
  )


def test_a_missing_tokenizer_is_one_sentence(tmp_path):
  with pytest.raises(ValueError, match='Set --config.tokenizer to the workdir'):
    inherit.load(OWN)
  with pytest.raises(ValueError, match='none holds no config.json'):
    inherit.load(OWN, overrides={'tokenizer': str(tmp_path / 'none')})


def test_a_plan_needs_the_tokenizer_and_no_data(tokenizer, capsys):
  words = ['train', f'--config={OWN}', f'--config.tokenizer={tokenizer}']
  assert main_lib.main([*words, '--dry_run']) == 0
  assert '"codebook_size": 12' in capsys.readouterr().out


def test_help_lists_unset_fields(capsys):
  assert main_lib.main(['train', f'--config={OWN}', '--help']) == 0
  shown = capsys.readouterr().out
  assert '--config.model.num_classes=None\n' in shown
  assert '--config.loss.temperature=auto\n' in shown


def test_a_flag_unsets_a_field(tmp_path, tokenizer):
  cache = begun_runs.write_cache(tmp_path / 'c', train=3, test=3)
  config = inherit.load(
      'configs/digits/rqtransformer.py',
      overrides={
          'tokenizer': tokenizer,
          'data.path': str(cache),
          'model.num_classes': None,
      },
  )
  assert config.model.num_classes == 3


def test_an_unset_field_is_explained_where_nothing_is_taken():
  with pytest.raises(ValueError, match='derives the value from the tokenizer'):
    config_lib.load(OWN)
