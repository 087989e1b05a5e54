"""What cannot be encoded is refused at once, before anything is made."""

import pytest

from rq_jax.checkpoints import stored
from rq_jax.jobs import encode
from tests import tiny

REFUSED = [
    (
        dict(source='features', path='cache'),
        "source='features' has no images.*'digits' or 'image_folder'.*"
        '--config.data.source',
    ),
    (dict(source='image_folder'), "path is 'None'.* set --config.data.path"),
    (dict(image_size=32), 'image_size=32, but .* 16x16.*data.image_size'),
]


@pytest.mark.parametrize(('fields', 'words'), REFUSED)
def test_data_that_cannot_be_encoded_are_refused(fields, words, tmp_path):
  data = tiny.stage1_config(data=fields).data
  out = tmp_path / 'made' / 'cache'
  with pytest.raises(ValueError, match=words):
    encode.encode(tiny.untrained_tokenizer(), data, str(out))
  assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize(('fields', 'words'), REFUSED)
def test_data_are_judged_before_the_tokenizer_is_restored(
    fields, words, tmp_path
):
  """Its folder has a description, and no weights."""
  tokenizer, out = tmp_path / 'tokenizer', tmp_path / 'made' / 'cache'
  tokenizer.mkdir()
  stored.write_config(tokenizer, tiny.stage1_config())
  data = tiny.stage1_config(data=fields).data
  with pytest.raises(ValueError, match=words):
    encode.run(str(tokenizer), data, str(out))
  assert not (tmp_path / 'made').exists()
  with pytest.raises(ValueError, match='checkpoint'):
    encode.run(str(tokenizer), tiny.stage1_config().data, str(out))
